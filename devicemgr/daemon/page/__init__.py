"""The page: what the manager does, drawn in a browser.

The server computes what is shown, from the state and from the events, and the browser draws it; nothing is decided
there.

``extra``      the page's modules, if the packages that they need are installed
``site``       serves the page of a manager, and ends with it
``recorded``   the page of a trace
``app``        the requests that there are, and who may make them
``files``      the page's own files, and the book
``feed``       what the page shows, kept up to date as long as somebody looks
``parts``      an overview in parts, each of which is sent when it has changed
``event_texts``  events as texts, each with what was said
``http``       HTTP by Hypercorn, on connections that are bounded
``browser/``   the page itself; ``page.js`` says which files there are
"""
