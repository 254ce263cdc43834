//! Controls a real Chromium over two pipes with its debugging protocol: opens pages, inspects them, clicks, and takes
//! screenshots. The protocol: <https://chromedevtools.github.io/devtools-protocol/>.
//!
//! A browser has one page and a temporary profile, and can only reach this machine.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::TestHome;

/// A time limit that is far longer than any page on this machine takes.
const LIMIT: Duration = Duration::from_secs(40);

/// The command that starts Chromium without a window, and without the suggestions of its address bar, which are pages too. Loading these
/// pages takes more than half of the processor time of a start.
const WITHOUT_WINDOW: [&str; 4] = [
    "chromium",
    "--headless=new",
    "--no-startup-window",
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
];

/// All processes of a browser. They are killed on drop, while the browser still has its profile.
struct Processes(Child);

impl Drop for Processes {
    fn drop(&mut self) {
        let group = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            // The browser has ended if there is nothing to kill.
            let _ended = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// A browser with one page.
pub struct Browser {
    _processes: Processes,
    _profile: TempDir,
    to: pipe::Sender,
    from: BufReader<pipe::Receiver>,
    /// The start of a message whose end has not arrived yet.
    begun: Vec<u8>,
    session: String,
    /// The session of the page. `session` may temporarily be that of the service worker.
    page: String,
    asked: u64,
    has_scripts: bool,
    /// Errors that pages report: violations of their content security policy and errors of scripts.
    pub complaints: Vec<String>,
    /// The service worker that was registered last.
    registration: Option<String>,
}

/// How a page is displayed.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// The width in CSS pixels.
    pub width: u32,
    /// The height in CSS pixels.
    pub height: u32,
    /// Whether dark colors are preferred.
    pub dark: bool,
    /// Whether the screen is that of a phone.
    pub mobile: bool,
}

/// A phone of a common size.
pub const PHONE: Screen = Screen { width: 390, height: 844, dark: false, mobile: true };

/// A desktop window.
pub const DESK: Screen = Screen { width: 1280, height: 900, dark: false, mobile: false };

impl Browser {
    /// Starts a browser that has no notifications. It needs a third less processor time than one with notifications.
    ///
    /// # Panics
    /// If Chromium's headless shell is not installed. `cargo xtask test` installs it.
    pub async fn start() -> Self {
        Self::launch(&["chromium-headless-shell"]).await
    }

    /// Starts a browser that shows notifications.
    ///
    /// # Panics
    /// If Chromium is not installed. `cargo xtask test` installs it.
    pub async fn with_notifications() -> Self {
        Self::launch(&WITHOUT_WINDOW).await
    }

    async fn launch(program: &[&str]) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let (inward, outward) = (profile.path().join("in"), profile.path().join("out"));
        for pipe in [&inward, &outward] {
            let made = Command::new("mkfifo").arg(pipe).status().await.expect("mkfifo is installed");
            assert!(made.success(), "the pipe is created");
        }
        // Open each pipe for reading and writing, so that neither side waits for the other.
        let mut both = pipe::OpenOptions::new();
        both.read_write(true);
        let to = both.open_sender(&inward).expect("the pipe was just created");
        let from = BufReader::new(both.open_receiver(&outward).expect("the pipe was just created"));
        let process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<\"$IN\" 4>\"$OUT\"", "sh"])
            .args(program)
            .args([
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-extensions",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--mute-audio", "--hide-scrollbars"])
            .args(["--proxy-server=http://127.0.0.1:9", "--proxy-bypass-list=127.0.0.1;localhost;*.localhost"])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .env("IN", &inward)
            .env("OUT", &outward)
            // Chromium leaves a folder here when it is killed.
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        let mut browser = Self {
            _processes: Processes(process),
            _profile: profile,
            to,
            from,
            begun: vec![],
            session: String::new(),
            page: String::new(),
            asked: 0,
            has_scripts: true,
            complaints: vec![],
            registration: None,
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true })).await;
        attached["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        browser.page.clone_from(&browser.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.ask(domain, json!({})).await;
        }
        browser
    }

    /// Sends a command and returns its answer. Handles all events that arrive before the answer.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).await.expect("the browser listens");
        self.to.flush().await.expect("the browser listens");
        let answered = async {
            loop {
                let message = self.next().await;
                if message["id"] == self.asked {
                    assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                    return message["result"].clone();
                }
            }
        };
        tokio::time::timeout(LIMIT, answered).await.unwrap_or_else(|_| panic!("the browser did not answer {method}"))
    }

    /// Returns the next message. Records errors that pages report, and accepts dialogs.
    async fn next(&mut self) -> Value {
        // If a caller stops waiting in the middle of a message, the next call reads the rest.
        self.from.read_until(0, &mut self.begun).await.expect("the browser sends a message");
        self.begun.pop();
        let message: Value = serde_json::from_slice(&self.begun).expect("the browser sends JSON");
        self.begun.clear();
        match message["method"].as_str() {
            Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                self.complaints.push(message["params"]["entry"]["text"].to_string());
            }
            Some("Runtime.exceptionThrown") => self.complaints.push(message["params"]["exceptionDetails"].to_string()),
            Some("ServiceWorker.workerRegistrationUpdated") => {
                let last = message["params"]["registrations"].as_array().and_then(|all| all.last());
                if let Some(id) = last.and_then(|last| last["registrationId"].as_str()) {
                    self.registration = Some(id.to_owned());
                }
            }
            Some("Page.javascriptDialogOpening") => {
                self.asked += 1;
                let accept = json!({ "id": self.asked, "method": "Page.handleJavaScriptDialog", "params": { "accept": true },
                    "sessionId": self.session });
                // The next reader ignores the answer.
                self.to.write_all(format!("{accept}\0").as_bytes()).await.expect("the browser listens");
                self.asked -= 1;
            }
            _ => {}
        }
        message
    }

    /// Sets the size of the page and its color scheme.
    pub async fn look(&mut self, screen: Screen) {
        let Screen { width, height, dark, mobile } = screen;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.ask("Emulation.setDeviceMetricsOverride", metrics).await;
        let phone =
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36";
        let agent = if mobile {
            phone.to_owned()
        } else {
            phone.replace("Linux; Android 10; K", "X11; Linux x86_64").replace(" Mobile", "")
        };
        self.ask("Emulation.setUserAgentOverride", json!({ "userAgent": agent })).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", features).await;
    }

    /// Opens a URL and waits until the page is loaded.
    pub async fn open(&mut self, url: &str) {
        self.ask("Page.navigate", json!({ "url": url })).await;
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'").await;
    }

    /// Signs in with the link that `sign-in` prints and confirms the sign-in. Returns the URL of the server.
    pub async fn sign_in(&mut self, home: &TestHome) -> String {
        let output = home.command(&["sign-in"]).output().await.expect("it starts");
        let link = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success() && link.contains("/sign-in?code="), "{output:?}");
        self.open(&link).await;
        self.click("form button.primary").await;
        self.until("document.querySelector('nav.around')").await;
        link.split("/sign-in").next().expect("the link contains `/sign-in`").to_owned()
    }

    /// Returns the cookies that the browser sends to this URL, including those that scripts cannot read.
    pub async fn cookies(&mut self, url: &str) -> String {
        let found = self.ask("Network.getCookies", json!({ "urls": [url] })).await;
        let cookies = found["cookies"].as_array().expect("a list").iter();
        let pair = |cookie: &Value| Some(format!("{}={}", cookie["name"].as_str()?, cookie["value"].as_str()?));
        cookies.filter_map(pair).collect::<Vec<String>>().join("; ")
    }

    /// Clears the cache, so that the next page loads all its files again.
    pub async fn forget_files(&mut self) {
        self.ask("Network.clearBrowserCache", json!({})).await;
    }

    /// Evaluates an expression in the page and awaits promises.
    pub async fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", asked).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until the current page is completely loaded and an expression is true in it.
    pub async fn until(&mut self, expression: &str) {
        // A page has no timers if its scripts are disabled.
        let clock = if self.has_scripts {
            "setTimeout(look, 20); }; look(); setTimeout(() => done(false), 500);"
        } else {
            "done(false); }; look();"
        };
        let watched = format!(
            "new Promise((done) => {{ const look = () => {{ try {{ if (document.readyState === 'complete' && ({expression})) return done(true); }} catch {{}} {clock} }})"
        );
        let begun = std::time::Instant::now();
        loop {
            // A page does not answer if the browser leaves it in the meantime.
            let asked = json!({ "expression": watched, "awaitPromise": true, "returnByValue": true });
            let answer = self.ask_or_error("Runtime.evaluate", asked).await;
            if answer["result"]["result"]["value"] == true {
                return;
            }
            if !self.has_scripts {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if begun.elapsed() > LIMIT {
                let page = self.value("location.href + '\\n' + document.body.innerText").await;
                panic!("`{expression}` did not become true at {page}\n{:?}", self.complaints);
            }
        }
    }

    async fn ask_or_error(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let message = json!({ "id": self.asked, "method": method, "params": params, "sessionId": self.session });
        self.to.write_all(format!("{message}\0").as_bytes()).await.expect("the browser listens");
        let answered = async {
            loop {
                let message = self.next().await;
                if message["id"] == self.asked {
                    return message;
                }
            }
        };
        tokio::time::timeout(LIMIT, answered).await.unwrap_or_else(|_| panic!("the browser did not answer {method}"))
    }

    /// Clicks the element that a selector finds.
    pub async fn click(&mut self, selector: &str) {
        let found = json!(selector);
        self.until(&format!("document.querySelector({found})")).await;
        self.value(&format!("document.querySelector({found}).click()")).await;
    }

    /// Sets the text of a field as if a user had typed it.
    pub async fn write(&mut self, selector: &str, text: &str) {
        let (found, text) = (json!(selector), json!(text));
        self.until(&format!("document.querySelector({found})")).await;
        let typed = format!(
            "(() => {{ const field = document.querySelector({found}); field.focus(); field.value = {text}; \
             field.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
        );
        self.value(&typed).await;
    }

    /// Disconnects or reconnects the network.
    pub async fn offline(&mut self, is_offline: bool) {
        let none = json!({ "offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.ask("Network.emulateNetworkConditions", none).await;
    }

    /// Disables scripts for pages that are opened from now on.
    pub async fn without_scripts(&mut self) {
        self.ask("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        self.has_scripts = false;
    }

    /// Slows down the processor of the page by a factor.
    pub async fn slow_down(&mut self, times: u32) {
        self.ask("Emulation.setCPUThrottlingRate", json!({ "rate": times })).await;
    }

    /// Reloads the page.
    pub async fn reload(&mut self) {
        self.ask("Page.reload", json!({})).await;
        self.until("document.readyState === 'complete'").await;
    }

    /// Presses a key: a single character, `Enter`, `Tab`, `Escape` or `Space`. With the prefix `Control+` or `Shift+`, that key is
    /// held down.
    pub async fn press(&mut self, key: &str) {
        let (held, key) = match key.rsplit_once('+') {
            Some(("Control", key)) => (2, key),
            Some(("Shift", key)) => (8, key),
            _ => (0, key),
        };
        let (name, number, text) = match key {
            "Enter" => ("Enter", 13, "\r"),
            "Tab" => ("Tab", 9, ""),
            "Escape" => ("Escape", 27, ""),
            "Space" => (" ", 32, " "),
            sign => (sign, 0, sign),
        };
        let text = if held == 2 { "" } else { text };
        let down = json!({ "type": if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "key": name, "code": name,
            "windowsVirtualKeyCode": number, "text": text, "modifiers": held });
        self.ask("Input.dispatchKeyEvent", down).await;
        let up = json!({ "type": "keyUp", "key": name, "code": name, "windowsVirtualKeyCode": number, "modifiers": held });
        self.ask("Input.dispatchKeyEvent", up).await;
    }

    /// Types text at the cursor.
    pub async fn type_text(&mut self, text: &str) {
        self.ask("Input.insertText", json!({ "text": text })).await;
    }

    /// Moves the focus to an element with the tab key.
    ///
    /// # Panics
    /// If the element cannot be reached.
    pub async fn tab_to(&mut self, selector: &str) {
        let found = json!(selector);
        self.until(&format!("document.querySelector({found})")).await;
        for _ in 0..80 {
            if self.value(&format!("document.activeElement.matches({found})")).await == true {
                return;
            }
            self.press("Tab").await;
        }
        panic!("the tab key does not reach {selector}");
    }

    /// Sets whether an origin may show notifications: `granted` or `denied`.
    pub async fn answer_notices(&mut self, origin: &str, answer: &str) {
        let asked = json!({ "permission": { "name": "notifications" }, "setting": answer, "origin": origin });
        self.ask("Browser.setPermission", asked).await;
    }

    /// Delivers a message to the service worker of an origin, as the browser does for messages from its push service.
    ///
    /// # Panics
    /// If the origin has no service worker.
    pub async fn push(&mut self, origin: &str, message: &str) {
        self.ask("ServiceWorker.enable", json!({})).await;
        let begun = std::time::Instant::now();
        let id = loop {
            if let Some(id) = self.registration.clone() {
                break id;
            }
            assert!(begun.elapsed() < LIMIT, "a service worker is registered in time");
            // Events of the browser are processed only while a command waits for its answer.
            self.value("0").await;
        };
        self.ask("ServiceWorker.deliverPushMessage", json!({ "origin": origin, "registrationId": id, "data": message })).await;
    }

    /// Evaluates an expression in the service worker and awaits promises.
    ///
    /// # Panics
    /// If the service worker does not exist.
    pub async fn value_in_worker(&mut self, expression: &str) -> Value {
        let page = self.page.clone();
        self.session = String::new();
        let targets = self.ask("Target.getTargets", json!({})).await;
        let worker = targets["targetInfos"].as_array().and_then(|all| all.iter().find(|it| it["type"] == "service_worker"));
        let id = worker.expect("a service worker")["targetId"].clone();
        let attached = self.ask("Target.attachToTarget", json!({ "targetId": id, "flatten": true })).await;
        attached["sessionId"].as_str().expect("a session").clone_into(&mut self.session);
        let found = self.value(expression).await;
        self.session = page;
        found
    }

    /// Selects files in a file field, as its dialog does.
    pub async fn choose(&mut self, selector: &str, files: &[&Path]) {
        let found = json!(selector);
        self.until(&format!("document.querySelector({found})")).await;
        let field = self.ask("Runtime.evaluate", json!({ "expression": format!("document.querySelector({found})") })).await;
        let asked = json!({ "files": files, "objectId": field["result"]["objectId"] });
        self.ask("DOM.setFileInputFiles", asked).await;
    }

    /// Takes a screenshot of the page and writes it to a PNG file.
    pub async fn picture(&mut self, file: &Path) {
        let answer = self.ask("Page.captureScreenshot", json!({ "format": "png" })).await;
        let text = answer["data"].as_str().expect("a screenshot");
        fs_err::write(file, base64(text)).expect("the screenshot can be written");
    }
}

/// Decodes Base64.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = vec![];
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = DIGITS.iter().position(|digit| *digit == byte).expect("base64");
        bits = bits << 6 | u32::try_from(digit).expect("below 64");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("aGVsbG8="), b"hello");
        assert_eq!(base64("aGVsbG8h"), b"hello!");
    }
}
