// Shows what is pushed, and opens its page when it is tapped. It keeps nothing and answers no request of a page.
"use strict";
addEventListener("install", () => skipWaiting());
addEventListener("push", (event) => {
  const { title, body, tag, path } = event.data.json();
  event.waitUntil(registration.showNotification(title, { body, tag, data: path, renotify: true, icon: "ICON" }));
});
// A push service that gives a browser another address does not tell us: only its person can say that we may have it.
addEventListener("pushsubscriptionchange", (event) => {
  const words = { body: "Tap to subscribe this browser again.", tag: "again", data: "/settings/notices", icon: "ICON" };
  event.waitUntil(registration.showNotification("This browser gets no more notices", words));
});
addEventListener("notificationclick", (event) => {
  const { notification } = event;
  const url = new URL(notification.data, location.origin).href;
  notification.close();
  event.waitUntil(clients.matchAll({ type: "window", includeUncontrolled: true }).then((pages) => {
    const page = pages.find((page) => page.url === url);
    return page ? page.focus() : clients.openWindow(url);
  }));
});
