//! Checks that a version of Codex exists, before a build spends minutes on it.
//!
//! Only a definite "not found" is an error. If this machine cannot reach the registry, the build may still be able to.

use std::time::Duration;

use crate::failure::Failure;
use model::ErrorCode;

/// The time limit for the registry's response.
const LIMIT: Duration = Duration::from_secs(10);

/// Fails if the registry does not have this version.
pub(super) async fn check_version(registry: &str, version: &str, certificates: &[String]) -> Result<(), Failure> {
    let known = version.starts_with(|first: char| first.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if !known {
        return Err(unknown_version(registry, version));
    }
    match answer(registry, version, certificates).await {
        Ok(reqwest::StatusCode::NOT_FOUND) => Err(unknown_version(registry, version)),
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "could not reach the registry");
            Ok(())
        }
    }
}

/// Returns the failure for a version that does not exist.
pub(super) fn unknown_version(registry: &str, version: &str) -> Failure {
    Failure::new(ErrorCode::CodexVersionUnknown, format!("Codex version `{version}` not found at {registry}"))
        .hint("list the published versions with `npm view @openai/codex versions`")
        .hint(format!("or omit --codex-version to use the tested version, {}", model::CODEX_VERSION))
}

/// Fails if the URL is invalid or contains a password, because the URL becomes part of the image's history.
pub(super) fn check_address(registry: &str) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::new(ErrorCode::RegistryAddress, format!("invalid registry URL: {why}")));
    let Some((scheme, rest)) = registry.split_once("://") else {
        return refuse("it does not start with https://")
            .map_err(|failure| failure.hint("use a URL like https://registry.npmjs.org"));
    };
    if !matches!(scheme, "https" | "http") || rest.is_empty() || rest.contains(char::is_whitespace) {
        return refuse("it is not an http:// or https:// URL with a host")
            .map_err(|failure| failure.hint("use a URL like https://registry.npmjs.org"));
    }
    if rest.split('/').next().is_some_and(|host| host.contains('@')) {
        return refuse("it contains a user name or password, which would be stored in the image")
            .map_err(|failure| failure.hint("use a registry that does not require a login for downloads"));
    }
    Ok(())
}

async fn answer(registry: &str, version: &str, certificates: &[String]) -> reqwest::Result<reqwest::StatusCode> {
    // This fails if a provider is already installed, which is harmless.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut client = reqwest::Client::builder().timeout(LIMIT);
    for certificate in certificates {
        client = client.add_root_certificate(reqwest::Certificate::from_pem(certificate.as_bytes())?);
    }
    let url = format!("{registry}/@openai/codex/{version}");
    Ok(client.build()?.get(url).send().await?.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_version_is_refused_without_asking() {
        for version in ["", "latest", "-x", "1.0;id", "1.0 2"] {
            let failure = check_version("http://127.0.0.1:1", version, &[]).await.expect_err(version);
            assert!(failure.code == ErrorCode::CodexVersionUnknown && failure.hints.len() == 2, "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_registry_that_is_silent_here_may_answer_the_build() {
        check_version("http://127.0.0.1:1", "0.169.0", &[]).await.expect("an unreachable registry is not an error");
    }

    #[test]
    fn no_password_gets_into_an_image() {
        let check = |address: &str, fine: bool| assert_eq!(check_address(address).is_ok(), fine, "{address}");
        check("https://registry.npmjs.org", true);
        check("http://mirror.local:4873/@scope", true);
        check("https://me:secret@mirror.local/npm", false);
        check("mirror.local", false);
        check("ftp://mirror.local", false);
        check("https://", false);
        let report = |address: &str| crate::report(&check_address(address).expect_err("refused"));
        let reports = ["https://me:secret@mirror.local", "mirror.local", "ftp://mirror.local"].map(report).join("\n");
        insta::assert_snapshot!(reports);
    }
}
