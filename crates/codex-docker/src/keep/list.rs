//! The commands `kept list` and `kept remove`: the images with what runs installed.
//!
//! An image is removed only if its labels say that this program committed it for the caller, and no container uses it.

use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::query_parameters::ListImagesOptionsBuilder;
use clap::Subcommand;
use model::ErrorCode;
use serde::Serialize;

use super::BASE;
use crate::connect::refused;
use crate::failure::Failure;
use crate::image::remove_unused;
use crate::labels;
use crate::settings::label_argument;

/// The subcommands of `kept`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeptCommand {
    /// List the images with what runs installed
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Only include images of runs with this label; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label_argument)]
        labels: Vec<(String, String)>,
    },
    /// Remove these images, except those that a container uses, and print their names
    Remove {
        /// Only remove images of runs with this label; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label_argument, required = true)]
        labels: Vec<(String, String)>,
        /// Do not remove the image with this name
        #[arg(long, value_name = "NAME:TAG")]
        except: Option<String>,
    },
}

/// An image with what runs installed, as `kept list --json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct KeptImage {
    /// The image's ID in the container engine.
    pub(crate) id: String,
    /// The image's names. An image that was replaced has none.
    pub(crate) names: Vec<String>,
    /// The image's size in bytes, including the image that it is based on.
    pub(crate) size: u64,
    /// The ID of the image that the first run started from.
    pub(crate) base: String,
    /// When the image was created, in seconds since 1970.
    pub(crate) created: i64,
    /// The labels of the runs.
    pub(crate) labels: BTreeMap<String, String>,
}

/// Runs the command and prints its result.
pub(crate) async fn run(docker: &Docker, command: KeptCommand) -> Result<(), Failure> {
    match command {
        KeptCommand::List { json, labels } => {
            let found = list(docker, &labels.into_iter().collect()).await?;
            if json {
                crate::answer(&crate::json_of(&found)?);
            } else {
                for image in found {
                    let name = image.names.first().unwrap_or(&image.id);
                    crate::answer(&format!("{name}\t{}", image.size));
                }
            }
        }
        KeptCommand::Remove { labels, except } => {
            let mut found = list(docker, &labels.into_iter().collect()).await?;
            found.retain(|image| !is_named(image, except.as_deref()));
            for image in found {
                if remove_unused(docker, &image.id, &image.names).await? {
                    crate::answer(image.names.first().unwrap_or(&image.id));
                }
            }
        }
    }
    Ok(())
}

fn is_named(image: &KeptImage, name: Option<&str>) -> bool {
    name.is_some_and(|name| image.names.iter().any(|found| found == name))
}

async fn list(docker: &Docker, wanted: &BTreeMap<String, String>) -> Result<Vec<KeptImage>, Failure> {
    let mut filters: HashMap<String, Vec<String>> = labels::filter(wanted);
    filters.entry("label".to_owned()).or_default().push(BASE.to_owned());
    let found = docker.list_images(Some(ListImagesOptionsBuilder::new().filters(&filters).build())).await;
    let found = found.map_err(|error| refused(ErrorCode::EngineFailed, "could not list the images", &error))?;
    let kept = found.into_iter().map(|image| KeptImage {
        names: image.repo_tags.into_iter().filter(|name| name != "<none>:<none>").collect(),
        size: u64::try_from(image.size).unwrap_or_default(),
        base: image.labels.get(BASE).cloned().unwrap_or_default(),
        created: image.created,
        labels: labels::callers(&image.labels),
        id: image.id,
    });
    Ok(kept.collect())
}
