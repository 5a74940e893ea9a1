"""`import dynet_config` comes here."""

from lazynet.dynet.running import provide

provide(__name__)
