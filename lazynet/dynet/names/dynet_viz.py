"""`import dynet_viz` comes here."""

from lazynet.dynet.running import provide

provide(__name__)
