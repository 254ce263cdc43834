//! A browser that receives notifications: it subscribes on the page, its service worker shows what is pushed, and a tap opens
//! the task.
//!
//! The tests' Chromium cannot reach a push service on the internet. So `pushManager.subscribe` returns a subscription of the
//! tests' own service, and the debugging protocol delivers what that service receives. Everything else is the browser's own.

use serde_json::{Value, json};
use testkit::browser::{Browser, PHONE};
use testkit::push::PushService;

use super::Visit;

const PAGE: &str = "/settings/notices";

/// Makes the browser subscribe to this push service instead of its vendor's.
async fn reach(stage: &mut Visit, service: &PushService, name: &str) {
    let key = stage.browser.value("document.querySelector('#subscribe').server_key.value").await;
    let wish = service.subscribe(name, key.as_str().expect("a key"));
    let answer = json!({ "endpoint": wish.endpoint, "keys": { "p256dh": wish.p256dh, "auth": wish.auth } });
    let stub = format!(
        "PushManager.prototype.subscribe = async (options) => {{ if (options.applicationServerKey !== '{}' || \
         !options.userVisibleOnly) throw Error('wrong options'); return {{ toJSON: () => ({answer}) }}; }}; 0",
        key.as_str().expect("a key")
    );
    stage.browser.value(&stub).await;
}

/// Returns the browser's notifications once its service worker has shown this many. It asks the browser only once, because Chromium
/// then forgets notifications that it is about to show.
async fn shown(stage: &mut Visit, count: usize) -> Value {
    let looked = format!(
        "(async () => {{ while (shown.length < {count}) await new Promise((done) => setTimeout(done, 20)); await Promise.all(shown); \
         return (await registration.getNotifications()).map((it) => [it.title, it.body, it.tag, it.data]); }})()"
    );
    stage.browser.value_in_worker(&looked).await
}

#[tokio::test]
async fn a_phone_subscribes_shows_what_is_pushed_and_leads_to_the_task() {
    let mut stage = Visit::with(Browser::with_notifications().await).await;
    let mut service = PushService::start().await;
    stage.browser.look(PHONE).await;
    let url = stage.url.clone();
    stage.browser.answer_notices(&url, "granted").await;
    stage.open(PAGE).await;
    reach(&mut stage, &service, "phone").await;
    stage.browser.click("#subscribe button:not([hidden])").await;
    stage.browser.until("document.querySelector('form[action$=\"/remove\"]') && document.readyState === 'complete'").await;
    assert!(stage.text().await.contains("this browser"), "{}", stage.text().await);
    let scope = stage.browser.value("navigator.serviceWorker.ready.then((it) => new URL(it.scope).pathname)").await;
    assert_eq!(scope, "/");

    let task = stage.task("begin; end \"All done.\"").await;
    let pushed = service.next().await;
    let watch = "self.refused = []; addEventListener('securitypolicyviolation', (it) => refused.push(it.blockedURI)); \
        self.shown = []; const show = registration.showNotification; \
        registration.showNotification = (...what) => shown[shown.push(show.apply(registration, what)) - 1]; 0";
    stage.browser.value_in_worker(watch).await;
    stage.browser.push(&url, &pushed.message.to_string()).await;
    let title = stage.home.get(&format!("/api/v1/tasks/{task}")).await.1["title"].clone();
    let path = format!("/tasks/{task}");
    let notice = json!([[title, "Run 1 completed.", task, path]]);
    assert_eq!(shown(&mut stage, 1).await, notice);
    assert_eq!(
        stage.browser.value_in_worker("refused").await,
        json!([]),
        "the policy of the service worker allows the notification's icon"
    );

    // The browser decides when it removes a notification, so the test checks only that the script closes the notification.
    let tap = "(async () => { let went, closed; clients.openWindow = async (url) => { went = 'opens ' + url; }; \
        WindowClient.prototype.focus = async function () { went = 'goes to ' + this.url; }; \
        const [notification] = await registration.getNotifications(); \
        notification.close = () => { closed = Notification.prototype.close.call(notification) ?? 'closes'; }; \
        dispatchEvent(new NotificationEvent('notificationclick', { notification })); \
        while (!went) await new Promise((done) => setTimeout(done, 20)); return [closed, went]; })()";
    assert_eq!(stage.browser.value_in_worker(tap).await, json!(["closes", format!("opens {url}{path}")]));
    stage.open(&path).await;
    stage.browser.push(&url, &pushed.message.to_string()).await;
    assert_eq!(shown(&mut stage, 2).await, notice);
    assert_eq!(stage.browser.value_in_worker(tap).await, json!(["closes", format!("goes to {url}{path}")]));

    // A browser whose push endpoint has changed shows a notification.
    stage.browser.value_in_worker("dispatchEvent(new ExtendableEvent('pushsubscriptionchange')); 0").await;
    let again = json!(["Notifications stopped", "Tap to subscribe again.", "again", PAGE]);
    assert!(shown(&mut stage, 3).await.as_array().is_some_and(|all| all.contains(&again)));
    stage.content();
}

#[tokio::test]
async fn a_browser_that_may_not_says_why() {
    let mut stage = Visit::with(Browser::with_notifications().await).await;
    let url = stage.url.clone();
    stage.browser.answer_notices(&url, "denied").await;
    stage.open(PAGE).await;
    stage.browser.until("document.querySelector('#why-denied').offsetParent").await;
    assert_eq!(stage.browser.value("document.querySelector('#subscribe button').hidden").await, true);
    let zone = stage.browser.value("document.querySelector('#zone').value === Intl.DateTimeFormat().resolvedOptions().timeZone");
    assert_eq!(zone.await, true);
    stage.browser.answer_notices(&url, "granted").await;
    stage.open(PAGE).await;
    stage.browser.value("PushManager.prototype.subscribe = async () => { throw Error('out of luck'); }; 0").await;
    stage.browser.click("#subscribe button:not([hidden])").await;
    stage.browser.until("document.querySelector('#subscribe output').innerText === 'out of luck'").await;
    assert_eq!(stage.browser.value("document.querySelector('#subscribe button').disabled").await, false);
    stage.content();
}
