"""One module per command: parse options, call one function of a package, report.

Only typer and the standard library are imported at module level, so that ``segx --help`` is quick.
"""
