// Passkeys: the browser answers what the page asks for, and the form carries the answer.
"use strict";

for (const button of document.querySelectorAll("button.passkey")) {
  button.addEventListener("click", async () => {
    const failed = document.getElementById("passkey-failed");
    failed.hidden = true;
    button.disabled = true;
    try {
      const options = JSON.parse(button.dataset.options);
      const credential = button.dataset.kind === "create"
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
      button.form.elements.credential.value = JSON.stringify(credential.toJSON());
      button.form.submit();
    } catch {
      failed.hidden = false;
      failed.focus();
      button.disabled = false;
    }
  });
}
