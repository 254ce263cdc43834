//! A simple client for pages: it signs in like a browser, keeps its cookie, reads pages and sends their forms. It runs no
//! scripts.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response, header};

use crate::TestHome;

/// A signed-in session on the pages of one server.
pub struct Pages {
    url: String,
    cookie: String,
    client: reqwest::Client,
}

impl Pages {
    /// Signs in with the link that `sign-in` prints.
    ///
    /// # Panics
    /// If the sign-in is rejected.
    pub async fn sign_in(home: &TestHome) -> Self {
        let output = home.command(&["sign-in"]).output().await.expect("it starts");
        let link = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let (url, code) = link.split_once("/sign-in?code=").expect("a link");
        let client =
            crate::http_client().redirect(reqwest::redirect::Policy::none()).build().expect("a plain client can be created");
        let mut pages = Self { url: url.to_owned(), cookie: String::new(), client };
        let answer = pages.send("/sign-in", &[("code", code)]).await;
        let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("text");
        cookie.split(';').next().expect("a cookie").clone_into(&mut pages.cookie);
        pages
    }

    /// Returns the URL of the server and the session cookie.
    pub fn session(&self) -> (&str, &str) {
        (&self.url, &self.cookie)
    }

    /// Returns the status and the HTML of a page.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let request = self.client.request(Method::GET, format!("{}{path}", self.url)).header(header::COOKIE, &self.cookie);
        let answer = request.send().await.expect("the server answers");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    /// Returns the value of a field on a page.
    ///
    /// # Panics
    /// If it does not exist.
    pub async fn value(&self, path: &str, field: &str) -> String {
        let (_, text) = self.get(path).await;
        let start = format!("name=\"{field}\" value=\"");
        let value = text.split_once(&start).and_then(|(_, rest)| rest.split('"').next());
        value.unwrap_or_else(|| panic!("no {field} in {text}")).to_owned()
    }

    /// Sends a form on the page at `page`. Returns the status.
    pub async fn post(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> u16 {
        let token = self.value(page, "form_token").await;
        let fields = [&[("form_token", token.as_str())], fields].concat();
        self.send(path, &fields).await.status().as_u16()
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let body: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
        let request = self
            .client
            .request(Method::POST, format!("{}{path}", self.url))
            .header(header::COOKIE, &self.cookie)
            .header(header::USER_AGENT, "Testbrowser")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.join("&"));
        request.send().await.expect("the server answers")
    }
}
