"""A folder for sys.path, in which Python finds modules with DyNet's names: see `running`."""
