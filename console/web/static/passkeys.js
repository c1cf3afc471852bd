// Passkeys: what the server asks goes to the browser's authenticator, and its answer back. Nothing else is done here.
"use strict";

(() => {
  const toBytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const toText = (bytes) =>
    btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  async function post(path, body) {
    const response = await fetch(path, {
      method: "POST",
      headers: { Accept: "application/json", "Content-Type": "application/json" },
      body: JSON.stringify(body ?? {}),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error ? answer.error.message : String(response.status));
    return answer;
  }

  const withIds = (list) => (list ?? []).map((each) => ({ ...each, id: toBytes(each.id) }));

  async function signIn() {
    const options = await post("/login/second/passkey/options");
    const found = await navigator.credentials.get({
      publicKey: {
        ...options,
        challenge: toBytes(options.challenge),
        allowCredentials: withIds(options.allowCredentials),
      },
    });
    await post("/login/second/passkey", {
      id: found.id,
      rawId: toText(found.rawId),
      type: found.type,
      response: {
        authenticatorData: toText(found.response.authenticatorData),
        clientDataJSON: toText(found.response.clientDataJSON),
        signature: toText(found.response.signature),
        userHandle: found.response.userHandle ? toText(found.response.userHandle) : null,
      },
    });
  }

  async function register(label) {
    const options = await post("/enrol/passkey/options");
    const made = await navigator.credentials.create({
      publicKey: {
        ...options,
        challenge: toBytes(options.challenge),
        user: { ...options.user, id: toBytes(options.user.id) },
        excludeCredentials: withIds(options.excludeCredentials),
      },
    });
    return post(`/enrol/passkey?label=${encodeURIComponent(label)}`, {
      id: made.id,
      rawId: toText(made.rawId),
      type: made.type,
      response: {
        attestationObject: toText(made.response.attestationObject),
        clientDataJSON: toText(made.response.clientDataJSON),
      },
    });
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-passkey]");
    if (!button) return;
    const wrong = button.parentElement.querySelector("[data-passkey-wrong]");
    if (wrong) wrong.hidden = true;
    button.disabled = true;
    try {
      if (button.dataset.passkey === "register") {
        const label = document.querySelector("[data-passkey-label]");
        const answer = await register(label ? label.value : "passkey");
        location.assign(answer.location);
      } else {
        await signIn();
        location.assign(button.dataset.next || "/");
      }
    } catch (error) {
      if (wrong) {
        wrong.textContent = error.message;
        wrong.hidden = false;
      }
    } finally {
      button.disabled = false;
    }
  });
})();
