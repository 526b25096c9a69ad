// Questions and panels before the page.

import { h } from "./dom.js";
import { t } from "./words.js";

/** Show a `<dialog>` named by its heading until it is closed; the focus then returns to where it was. */
export function open(title, ...children) {
  const heading = h("h2", { id: `dialog-${Math.random().toString(36).slice(2)}` }, title);
  const dialog = h("dialog", { class: "stack", "aria-labelledby": heading.id }, heading, ...children);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask whether to do something. Resolves with true or false. */
export function ask(title, what, yes) {
  return new Promise((resolve) => {
    const dialog = open(
      title,
      h("p", {}, what),
      h(
        "div",
        { class: "row" },
        h("button", { type: "button", class: "primary", onclick: () => dialog.close("yes") }, yes),
        h("button", { type: "button", onclick: () => dialog.close() }, t("page.cancel")),
      ),
    );
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
  });
}

/** A button that copies text and says so. */
export function copyButton(text) {
  const button = h("button", { type: "button", class: "small" }, t("page.copy"));
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = t("page.copied");
    setTimeout(() => (button.textContent = t("page.copy")), 2000);
  });
  return button;
}
