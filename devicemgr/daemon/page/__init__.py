"""The page: what the manager does, drawn in a browser.

The server computes what is shown, from the state and from the events, and the browser draws it; nothing is decided
there.

``extra``      the page's modules, if the packages that they need are installed
``site``       serves the page of a manager, and ends with it
``recorded``   the page of a trace
``app``        the requests that there are, and who may make them
``feed``       what the page shows, kept up to date as long as somebody looks
``parts``      an overview in parts, each of which is sent when it has changed
``told``       events, with the conversation that they tell
``http``       HTTP by Hypercorn, on connections that are bounded
``page.html``  the page
``page.css``   its look, in the light and in the dark
``page.js``    draws the parts
"""
