// The manager's time, in seconds since the epoch. That of a trace stands still at the moment that is shown.

let differs = 0; // from this machine's clock to the manager's
let moment = null;

export const clock = {
  set(message) {
    moment = message.moment ? { now: message.now, seconds: message.moment.seconds } : null;
    if (message.now) differs = message.now - Date.now() / 1000;
  },

  now: () => (moment ? moment.now : Date.now() / 1000 + differs),

  /** When a trace began; null while a running manager is shown. */
  began: () => (moment ? moment.now - moment.seconds : null),
};
