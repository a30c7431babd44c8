"""One self-contained HTML page: what a bundle is worth, how fast it runs, what it maps.

    tradeoff, latency, stages, classes, calibration, parity, pictures, about   a section each
    bundle_files, evaluated, imagery, measurements, timed, trial               what they show
    charts, svg, png                                                           how it is drawn
    markup       the only place where text becomes HTML, and is escaped
    document     sections become a page
    compose      the pages of `segx bench`, `export` and `infer`

A page loads nothing and runs no script. Whatever a bundle says is text.
"""
