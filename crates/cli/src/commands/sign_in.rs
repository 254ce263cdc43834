//! `sign-in`: prints a link that signs in one browser, and its QR code for a phone.
//! The link works once.

use std::process::ExitCode;

use client::Client;
use model::ErrorCode;
use model::problem::Problem;
use protocol::SignInLink;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::output::{Output, OutputFormat};
use crate::printer;

/// Creates and prints a link. `address` is the address at which the browser reaches the server, if it is not the server's own.
pub(super) async fn run(client: &Client, address: Option<&str>, format: OutputFormat) -> Result<ExitCode, Problem> {
    let link = client.create_sign_in_link().await?;
    if format.is_json() {
        printer::json(&link)?;
        return Ok(ExitCode::SUCCESS);
    }
    let url = url(&link, address)?;
    if printer::is_for_people() {
        printer::line(qr_code(&url)?);
    }
    shown(&url, &link, address).print();
    Ok(ExitCode::SUCCESS)
}

fn shown(url: &str, link: &SignInLink, address: Option<&str>) -> Output {
    let mut out = Output::default();
    out.line(url);
    let minutes = printer::plural((link.expires_in_seconds / 60) as usize, "minute");
    out.remark(format!("The link works once and expires in {minutes}."));
    if address.is_none() && url.contains(".localhost:") {
        out.remark(
            "To open the link on a phone, make the server reachable (e.g. through a VPN or an HTTPS proxy) and use --address https://NAME.",
        );
    }
    out
}

fn url(link: &SignInLink, address: Option<&str>) -> Result<String, Problem> {
    let base = match (address, &link.pages) {
        (Some(address), pages) => match pages.as_deref().and_then(|pages| tunnelled(address, pages)) {
            Some(base) => base,
            None if address.contains("://") => address.trim_end_matches('/').to_owned(),
            None => format!("https://{}", address.trim_end_matches('/')),
        },
        (None, Some(pages)) => pages.clone(),
        (None, None) => {
            return Err(Problem::new(ErrorCode::NoPages, "the server has no pages because it does not listen on a TCP address")
                .hint("set `listen` in config.toml, or start the server with --listen 127.0.0.1:8080"));
        }
    };
    Ok(format!("{base}{}", link.path))
}

/// Returns the address of the pages with the port of a tunnel, if `address` is a loopback name such as `localhost:9000`.
fn tunnelled(address: &str, pages: &str) -> Option<String> {
    let own = pages.strip_prefix("http://")?.rsplit_once(':')?.0;
    let host = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, format!(":{port}")),
        Some(_) | None => (host, String::new()),
    };
    let is_loopback = matches!(name, "localhost" | "127.0.0.1" | "[::1]") || name.ends_with(".localhost");
    (is_loopback && own.ends_with(".localhost")).then(|| format!("http://{own}{port}"))
}

fn qr_code(url: &str) -> Result<String, Problem> {
    let code = QrCode::new(url).map_err(Problem::internal)?;
    Ok(code.render::<Dense1x2>().quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_where_the_browser_reaches_the_server() {
        let link = |pages: Option<&str>| SignInLink {
            path: "/sign-in?code=1".to_owned(),
            listen: pages.map(|_| "127.0.0.1:8080".to_owned()),
            pages: pages.map(str::to_owned),
            expires_in_seconds: 600,
        };
        let here = link(Some("http://codex-5ec2e7.localhost:8080"));
        let own = url(&here, None).expect("a URL");
        assert_eq!(own, "http://codex-5ec2e7.localhost:8080/sign-in?code=1");
        insta::assert_snapshot!("sign-in", shown(&own, &here, None).plain());
        assert_eq!(url(&here, Some("box.tail.example/")).expect("a URL"), "https://box.tail.example/sign-in?code=1");
        assert_eq!(url(&here, Some("http://10.0.0.7:8080")).expect("a URL"), "http://10.0.0.7:8080/sign-in?code=1");
        // Through a tunnel, the pages have the same host name and a different port.
        for tunnel in ["localhost:9000", "http://localhost:9000/", "127.0.0.1:9000", "[::1]:9000", "codex-5ec2e7.localhost:9000"]
        {
            let expect = "http://codex-5ec2e7.localhost:9000/sign-in?code=1";
            assert_eq!(url(&here, Some(tunnel)).expect("a URL"), expect, "{tunnel}");
        }
        assert_eq!(url(&link(None), None).expect_err("no pages").report.code, ErrorCode::NoPages);
    }

    #[test]
    fn a_qr_code_fits_a_terminal() {
        let text = qr_code(&format!("http://127.0.0.1:8080/sign-in?code={}", "5".repeat(64))).expect("a QR code");
        assert!(text.lines().count() < 40 && text.lines().all(|line| line.chars().count() < 80), "{text}");
    }

    #[test]
    fn only_a_loopback_name_is_a_tunnel() {
        let pages = "http://codex-5ec2e7.localhost:8080";
        let check = |address: &str, expect: Option<&str>| assert_eq!(tunnelled(address, pages).as_deref(), expect, "{address}");
        check("localhost", Some("http://codex-5ec2e7.localhost"));
        check("LOCALHOST:9000", None);
        check("localhost.example.com:9000", None);
        check("https://localhost:9000", None);
        check("localhost:http", None);
        assert_eq!(tunnelled("localhost:9000", "http://10.0.0.7:8080"), None, "these pages are not below localhost");
        assert_eq!(tunnelled("localhost:9000", "https://box.example"), None);
    }

    #[test]
    fn a_phone_hint_is_shown_only_for_an_address_of_this_machine() {
        let link = SignInLink { path: "/sign-in?code=1".to_owned(), listen: None, pages: None, expires_in_seconds: 90 };
        let text = |url: &str, address: Option<&str>| shown(url, &link, address).plain();
        assert!(text("http://codex-1.localhost:8080/x", None).contains("--address https://NAME"));
        assert!(!text("https://box.example/x", None).contains("--address"));
        let given = text("http://codex-1.localhost:9000/x", Some("localhost:9000"));
        assert_eq!(given, "http://codex-1.localhost:9000/x\nstderr| The link works once and expires in 1 minute.");
    }

    #[test]
    fn a_link_that_is_too_long_for_a_qr_code_is_an_error() {
        assert!(qr_code(&"x".repeat(5000)).is_err());
    }
}
