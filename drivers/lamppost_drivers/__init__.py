"""Device drivers and register maps: frozen values and pure functions, useful without the daemon.

Nothing here touches a port, a clock, a log or a thread; see `contract` for what a driver is.
"""
