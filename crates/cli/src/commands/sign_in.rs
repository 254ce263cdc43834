//! `sign-in`: a link that signs one browser in to the pages, and a picture of it for a phone.
//! The code in it is good once, so the link is worth nothing afterwards.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use model::api::SignInLink;
use model::problem::{Problem, ProblemKind};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::client::Client;
use crate::printer;

/// `address` is where the browser reaches the server, where that is not the address that it listens on.
pub(super) async fn run(client: &Client, address: Option<&str>, json: bool) -> Result<ExitCode, Problem> {
    let link: SignInLink = client.post("/api/v1/sign-in-links").await?;
    if json {
        printer::json(&link)?;
        return Ok(ExitCode::SUCCESS);
    }
    let url = url(&link, address)?;
    if std::io::stdout().is_terminal() {
        printer::line(picture(&url)?);
    }
    printer::line(&url);
    printer::remark(format!("good for one browser and {} minutes", link.expires_in_seconds / 60));
    if address.is_none() && url.contains("//127.0.0.1") {
        printer::remark("for a phone: make the server reachable (a VPN, or a proxy with https), then --address https://NAME");
    }
    Ok(ExitCode::SUCCESS)
}

fn url(link: &SignInLink, address: Option<&str>) -> Result<String, Problem> {
    let base = match (address, &link.listen) {
        (Some(address), _) if address.contains("://") => address.trim_end_matches('/').to_owned(),
        (Some(address), _) => format!("https://{}", address.trim_end_matches('/')),
        (None, Some(listen)) => format!("http://{listen}"),
        (None, None) => {
            return Err(Problem::new(
                ProblemKind::WrongState,
                "no_pages",
                "the server listens on no TCP address, so it has no pages",
            )
            .hint("set `listen` in config.toml, or start it with --listen 127.0.0.1:8080"));
        }
    };
    Ok(format!("{base}{}", link.path))
}

fn picture(url: &str) -> Result<String, Problem> {
    let code = QrCode::new(url).map_err(Problem::internal)?;
    Ok(code.render::<Dense1x2>().quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_where_the_browser_reaches_the_server() {
        let link = |listen: Option<&str>| SignInLink {
            path: "/sign-in?code=1".to_owned(),
            listen: listen.map(str::to_owned),
            expires_in_seconds: 600,
        };
        let here = link(Some("127.0.0.1:8080"));
        assert_eq!(url(&here, None).expect("a URL"), "http://127.0.0.1:8080/sign-in?code=1");
        assert_eq!(url(&here, Some("box.tail.example/")).expect("a URL"), "https://box.tail.example/sign-in?code=1");
        assert_eq!(url(&here, Some("http://10.0.0.7:8080")).expect("a URL"), "http://10.0.0.7:8080/sign-in?code=1");
        assert_eq!(url(&link(None), None).expect_err("no pages").code, "no_pages");
    }

    #[test]
    fn a_picture_fits_a_terminal() {
        let text = picture(&format!("http://127.0.0.1:8080/sign-in?code={}", "5".repeat(64))).expect("a picture");
        assert!(text.lines().count() < 40 && text.lines().all(|line| line.chars().count() < 80), "{text}");
    }
}
