// The messages of a running manager, as server-sent events.

import { say } from "./header.js";

const AGAIN = 2000; // milliseconds until a reader that was refused asks again; a browser does so only when a stream ends

/** Until the page is closed. A browser has six connections to a server for all its tabs, so a tab that nobody sees has
 *  none. */
export function follow(receive) {
  let stream = null;
  const begin = () => {
    const begun = new EventSource("stream");
    stream = begun;
    begun.addEventListener("message", ({ data }) => {
      say("live", "live");
      receive(JSON.parse(data));
    });
    begun.addEventListener("error", () => {
      const isRefused = begun.readyState === EventSource.CLOSED;
      const why = isRefused ? "The manager takes no further reader" : "The manager is not reached";
      say("lost", `${why}: what is shown is the last it said. Trying again.`);
      const again = () => stream === begun && begin();
      if (isRefused) setTimeout(again, AGAIN);
    });
  };
  const look = () => {
    stream?.close();
    stream = null;
    if (!document.hidden) begin();
  };
  document.addEventListener("visibilitychange", look);
  look();
}
