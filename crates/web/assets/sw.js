// The service worker: shows push notifications and opens their pages. It caches nothing and handles no requests of pages.
"use strict";
addEventListener("install", () => skipWaiting());
addEventListener("push", (event) => {
  const { title, body, tag, path } = event.data.json();
  event.waitUntil(registration.showNotification(title, { body, tag, data: path, renotify: true, icon: "ICON" }));
});
// A push service can change the endpoint of a browser without telling the server, so ask the user to subscribe again.
addEventListener("pushsubscriptionchange", (event) => {
  const words = { body: "Tap to subscribe again.", tag: "again", data: "/settings/notices", icon: "ICON" };
  event.waitUntil(registration.showNotification("Notifications stopped", words));
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
