// The page of notifications: subscribes this browser, or shows why it cannot.
"use strict";
(() => {
  const one = (selector) => document.querySelector(selector);
  const zone = one("[name=zone]");
  if (zone) zone.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone;
  const form = one("#subscribe");
  const button = one("#subscribe button");
  const why = !isSecureContext ? "https"
    : navigator.standalone === false ? "home"
    : !("PushManager" in window) ? "push"
    : Notification.permission === "denied" ? "denied" : "";
  if (why) one("#why-" + why).hidden = false;
  button.hidden = Boolean(why);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await Notification.requestPermission();
      await navigator.serviceWorker.register("/sw.js");
      const { pushManager } = await navigator.serviceWorker.ready;
      await (await pushManager.getSubscription())?.unsubscribe();
      const options = { userVisibleOnly: true, applicationServerKey: form.server_key.value };
      const { endpoint, keys } = (await pushManager.subscribe(options)).toJSON();
      form.endpoint.value = endpoint;
      form.p256dh.value = keys.p256dh;
      form.auth.value = keys.auth;
      form.submit();
    } catch (error) {
      one("#subscribe output").textContent = error.message;
      button.disabled = false;
    }
  });
})();
