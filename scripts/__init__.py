"""Commands of the project itself: ``speed``, ``studies`` and the ``tables`` made of both."""
