//! Pulls an image from a registry.
//!
//! The engine downloads it. This process does not contact the registry and does not read the caller's registry logins.

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;

use super::progress::{Progress, spoken_size};
use super::status::{ImageStatus, status};
use super::trouble::{BuildOutput, explain, words_of};
use crate::failure::Failure;

/// Pulls an image and returns its status.
pub async fn pull(docker: &Docker, name: &str, mut show: impl FnMut(Progress<'_>) + Send) -> Result<ImageStatus, Failure> {
    let doing = format!("pull `{name}`");
    let failed = |error: &Error| explain(&doing, &words_of(error), &BuildOutput::default());
    let (repository, tag) = split(name);
    let options = CreateImageOptionsBuilder::new().from_image(repository).tag(tag).build();
    let mut stream = docker.create_image(Some(options), None, None);
    while let Some(said) = stream.next().await {
        let said = said.map_err(|error| failed(&error))?;
        let Some(status) = said.status else { continue };
        let layer = said.id.map(|id| format!("{id} ")).unwrap_or_default();
        let arrived = said.progress_detail.and_then(|detail| u64::try_from(detail.current?).ok());
        let arrived = arrived.map(|bytes| format!(" {}", spoken_size(bytes))).unwrap_or_default();
        show(Progress::Line(&format!("{layer}{status}{arrived}")));
    }
    status(docker, name).await?.ok_or_else(|| explain(&doing, "no such image", &BuildOutput::default()))
}

/// Splits a reference into the repository and the tag or digest.
fn split(name: &str) -> (&str, &str) {
    if let Some((repository, digest)) = name.split_once('@') {
        return (repository, digest);
    }
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split("debian"), ("debian", "latest"));
        assert_eq!(split("debian:12"), ("debian", "12"));
        assert_eq!(split("host:5000/team/image"), ("host:5000/team/image", "latest"));
        assert_eq!(split("host:5000/team/image:1"), ("host:5000/team/image", "1"));
        assert_eq!(split("x@sha256:00"), ("x", "sha256:00"));
    }
}
