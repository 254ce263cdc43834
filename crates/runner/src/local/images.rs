//! Finds and creates the images of a repository's environment: that of its runs, and those of its services.
//!
//! An image that is created has a name with the hash of its inputs, so it is created once. Invariant: the files of a build are those of
//! the default branch, never those of a task.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use durable::blocking;
use model::ErrorCode;
use model::container::{pinned_image, universal_image};
use model::run::RunError;
use model::setup::{ImageChoice, ImageInputs, ToolName, ToolVersion};
use tokio_util::sync::CancellationToken;

use super::LocalRunner;
use crate::seam::Supply;
use crate::setup::{EnvironmentImages, FoundImages, ImagesRequest, OnStep};
use crate::worker::{Housekeeping, ImageBuild, ImageRequest, ImageSource, archive, own_image};

/// How often missing images are created before this fails. Creating a base can change the name of the image that extends it.
const ROUNDS: usize = 3;

/// The images of an environment, as the container engine has them.
struct Images {
    /// The image that the container of a run is created from, or the one that it extends.
    base: Option<String>,
    /// The image that is created from the description, unless the base is used as it is.
    derived: Option<String>,
    /// The ID of the image of a run.
    id: Option<String>,
    /// The images to create, in this order.
    missing: Vec<String>,
}

impl LocalRunner {
    /// Returns the images of an environment, or `None` if the worker does not apply descriptions. Creates nothing but the image of
    /// the Dockerfile in the repository's settings, as every run does.
    pub(super) async fn found_images(
        &self,
        wanted: &EnvironmentImages,
        supply: &dyn Supply,
    ) -> Result<Option<FoundImages>, RunError> {
        let Some(images) = self.look_at_images(wanted, supply).await? else { return Ok(None) };
        let name = images.derived.or(images.base).filter(|_| wanted.is_described());
        Ok(Some(FoundImages { name, id: images.id, missing: images.missing }))
    }

    async fn look_at_images(&self, wanted: &EnvironmentImages, supply: &dyn Supply) -> Result<Option<Images>, RunError> {
        let Some(worker) = self.worker.as_ref().ok().filter(|worker| worker.runs_setups()) else { return Ok(None) };
        let base = match &wanted.choice {
            Some(ImageChoice::Build { .. }) => None,
            Some(ImageChoice::Named(name)) if name == ImageChoice::SLIM => Some(pinned_image()),
            Some(ImageChoice::Named(name)) if name == ImageChoice::UNIVERSAL => Some(universal_image()),
            Some(ImageChoice::Named(name)) => Some(name.clone()),
            None => {
                let (repository, cancel) = (wanted.repository, &CancellationToken::new());
                let request = ImageRequest { repository, supply, on_step: Box::new(|_| {}), cancel };
                worker.build_image(self.site(), request).await?;
                Some(worker.image(self.site(), &wanted.container, repository).unwrap_or_else(pinned_image))
            }
        };
        let housekeeping = self.housekeeping(supply.redactor(wanted.repository));
        let names: Vec<_> = base.iter().chain(&wanted.services).cloned().collect();
        let ids = housekeeping.image_ids(&names).await.map_err(|error| unknown(&error))?;
        let mut missing: Vec<_> = wanted.services.iter().filter(|name| !ids.contains_key(*name)).cloned().collect();
        let base_id = base.as_ref().and_then(|name| ids.get(name)).cloned();
        if let Some(name) = base.as_ref().filter(|_| base_id.is_none()) {
            missing.insert(0, name.clone());
            return Ok(Some(Images { base, derived: None, id: None, missing }));
        }
        if wanted.tools.is_empty() && (wanted.choice.is_none() || base.as_deref().and_then(shipped).is_some()) {
            return Ok(Some(Images { base, derived: None, id: base_id, missing }));
        }
        let (choice, tools, objects) = (wanted.choice.as_ref(), &wanted.tools, wanted.objects.as_slice());
        let hash = ImageInputs { choice, base: base_id.as_deref(), objects, tools }.hash();
        let name = format!("{}-{hash}", own_image(wanted.repository));
        let id = housekeeping.image_ids(std::slice::from_ref(&name)).await.map_err(|error| unknown(&error))?.remove(&name);
        if id.is_none() {
            missing.insert(0, name.clone());
        }
        Ok(Some(Images { base, derived: Some(name), id, missing }))
    }

    /// Creates the images of an environment that do not exist. What is printed goes to the log of the setup, which starts here.
    pub(super) async fn created_images(&self, request: ImagesRequest<'_>, supply: &dyn Supply) -> Result<(), RunError> {
        let ImagesRequest { wanted, number, mut on_step, cancel } = request;
        let path = self.home.layout.setup_log(wanted.repository, number);
        let log = blocking(move || {
            durable::create_private_folder(path.parent().unwrap_or(Path::new("/")))?;
            fs_err::File::create(path)
        });
        let log = log.await.map_err(|error| RunError::new(ErrorCode::HomeNotWritable, error.to_string()))?.into_file();
        let housekeeping = self.housekeeping(supply.redactor(wanted.repository));
        for _ in 0..ROUNDS {
            let Some(images) = self.look_at_images(wanted, supply).await? else { return Ok(()) };
            if let (Some(name), Some(id)) = (&images.derived, &images.id) {
                // An earlier server may have been killed before it recorded the image.
                supply.image_built(wanted.repository, name, id.clone()).await;
            }
            if images.missing.is_empty() {
                return Ok(());
            }
            for name in &images.missing {
                let creation = Creation { housekeeping: &housekeeping, wanted, images: &images, log: &log, cancel };
                creation.create(name, supply, self.home.layout.home(), &mut on_step).await?;
            }
        }
        Err(RunError::new(ErrorCode::ImageFailed, "the images of the environment were removed while they were created"))
    }
}

/// What is needed to create an image.
struct Creation<'a> {
    housekeeping: &'a Housekeeping,
    wanted: &'a EnvironmentImages,
    images: &'a Images,
    log: &'a File,
    cancel: &'a CancellationToken,
}

impl Creation<'_> {
    /// Creates an image.
    async fn create(&self, name: &str, supply: &dyn Supply, home: &Path, on_step: &mut OnStep<'_>) -> Result<(), RunError> {
        if self.images.derived.as_deref() == Some(name) {
            let source = self.source(supply, home).await?;
            return self.build(source, &self.wanted.tools, name, on_step).await;
        }
        if let Some(content) = shipped(name) {
            return self.build(ImageSource::Shipped(content), &BTreeMap::new(), name, on_step).await;
        }
        on_step(&format!("pulling {name}"));
        let pulled = self.housekeeping.pull(name, self.log()?, self.cancel.clone()).await;
        pulled.map_err(|error| not_pulled(name, &error))
    }

    /// Returns what the image of the description is built from.
    async fn source(&self, supply: &dyn Supply, home: &Path) -> Result<ImageSource<'_>, RunError> {
        match (&self.wanted.choice, &self.images.base) {
            (Some(ImageChoice::Build { build }), _) => {
                let mirror = supply.mirror(self.wanted.repository)?;
                let files = archive(&mirror, &self.wanted.commit, home, self.cancel).await.map_err(|error| not_built(&error))?;
                Ok(ImageSource::Repository { files, build })
            }
            (Some(ImageChoice::Named(_)) | None, Some(base)) => {
                Ok(shipped(base).map_or(ImageSource::Extended(base), ImageSource::Shipped))
            }
            (Some(ImageChoice::Named(_)) | None, None) => Ok(ImageSource::Shipped(ImageChoice::SLIM)),
        }
    }

    async fn build(
        &self,
        source: ImageSource<'_>,
        tools: &BTreeMap<ToolName, ToolVersion>,
        image: &str,
        on_step: &mut OnStep<'_>,
    ) -> Result<(), RunError> {
        let build = ImageBuild { source, tools, image, on_step: Box::new(on_step), log: Some(self.log()?) };
        self.housekeeping.build(build, self.cancel.clone()).await.map(drop).map_err(|error| not_built(&error))
    }

    fn log(&self) -> Result<File, RunError> {
        self.log.try_clone().map_err(|error| RunError::new(ErrorCode::HomeNotWritable, error.to_string()))
    }
}

/// Returns the content of an image of `codex-docker`, if this is the name of one.
fn shipped(name: &str) -> Option<&'static str> {
    let known = [(pinned_image(), ImageChoice::SLIM), (universal_image(), ImageChoice::UNIVERSAL)];
    known.into_iter().find_map(|(image, content)| (image == name).then_some(content))
}

fn unknown(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::ImageFailed, format!("could not inspect the images of the environment: {error}"))
        .hint("run `codex-orchestrator doctor` to check that containers can run")
}

fn not_built(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::ImageFailed, format!("could not build the image of the environment: {error}"))
        .hint("fix the description or the Dockerfile on the default branch, or run the setup again")
}

fn not_pulled(name: &str, error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::ImageFailed, format!("the image `{name}` does not exist on this machine: {error}"))
        .hint(format!("run `docker pull {name}` or build it with `docker build`, then run the setup again"))
}
