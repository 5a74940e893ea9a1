"""`import _dynet` comes here."""

from lazynet.dynet.running import provide

provide(__name__)
