// Forms that inject faults, for who has the token. The server says which faults there are, and what each takes.

import { byId, make } from "./dom.js";

export function offerFaults({ faults, calls }) {
  if (!faults.length) return;
  byId("tab-faults").hidden = false;
  byId("token-form").addEventListener("submit", (event) => event.preventDefault());
  byId("fault-forms").append(...faults.map((fault) => formOf(fault, calls)));
}

const INPUTS = {
  call: (calls) => make("select", {}, ...calls.map((call) => make("option", { value: call, text: call }))),
  resource: () => make("input", { type: "text", list: "resource-names", maxlength: "300" }),
  seconds: () => make("input", { type: "number", min: "0", step: "any", value: "1" }),
  delay: () => make("input", { type: "number", min: "0", step: "any", value: "0" }),
  times: () => make("input", { type: "number", min: "1", value: "1" }),
  error: () => make("input", { type: "text", maxlength: "300", value: "an injected fault" }),
};

function formOf(fault, calls) {
  const form = make("form", { class: "fault", "aria-label": fault.name });
  const inputs = fault.fields.map((field) => [field, INPUTS[field](calls)]);
  const result = make("output"); // beside the button, where somebody looks
  form.append(make("p", { text: fault.help }));
  for (const [field, input] of inputs) {
    input.required = fault.required.includes(field);
    form.append(make("label", { text: `${field} ` }, input));
  }
  form.append(make("button", { text: fault.name }), result);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const other of byId("fault-forms").querySelectorAll("output")) other.textContent = "";
    result.textContent = `${fault.name}: ${await inject({ name: fault.name, ...fieldsOf(inputs) })}`;
  });
  return form;
}

function fieldsOf(inputs) {
  const filled = inputs.filter(([, input]) => input.value !== "");
  return Object.fromEntries(filled.map(([field, input]) => [
    field === "delay" ? "seconds" : field,
    input.type === "number" ? Number(input.value) : input.value,
  ]));
}

/** What became of it. */
async function inject(fault) {
  const headers = { "content-type": "application/json", "x-devicemgr-token": byId("token").value };
  try {
    const answer = await fetch("fault", { method: "POST", headers, body: JSON.stringify(fault) });
    if (answer.status === 202) return "has begun"; // the line in the header says when it is over
    return answer.ok ? "done" : await answer.text();
  } catch {
    return "the manager did not answer";
  }
}
