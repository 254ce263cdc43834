//! The container images that this server built for repositories, from their own Dockerfiles and descriptions: recorded, listed, and
//! removed when no repository, no snapshot and no container uses them.
//!
//! Invariant: an image is removed only by its recorded ID, and only if this server gave the image all of its names.

use std::collections::BTreeSet;
use std::sync::Arc;

use config::Config;
use durable::blocking;
use jiff::Timestamp;
use model::container::ImageUsage;
use model::environment::EnvironmentRecord;
use model::ids::EnvironmentId;
use model::problem::Problem;
use protocol::{BuiltImage, ImageUse, TrashItem, TrashKind};
use runner::Runner;
use runner::worker::own_image;
use spine::Common;
use store::{BuiltImageRecord, Home, StoreError, TrashedThing};

use crate::environments::Environments;

/// The minimum length of an image ID prefix that counts as a reference to the image.
const SHORTEST_ID: usize = 12;

/// The images that this server built.
pub struct BuiltImages {
    config: Arc<Config>,
    home: Arc<Home>,
    runner: Arc<dyn Runner>,
    environments: Arc<Environments>,
    /// Allows one change of the list at a time.
    turn: tokio::sync::Mutex<()>,
}

impl BuiltImages {
    /// Creates the list of a server's images.
    pub fn new(common: Common, runner: Arc<dyn Runner>, environments: Arc<Environments>) -> Self {
        let Common { config, home, .. } = common;
        Self { config, home, runner, environments, turn: tokio::sync::Mutex::default() }
    }

    /// Records an image that was just built. The newest image of a repository comes last.
    pub async fn record(&self, env_id: EnvironmentId, name: &str, image_id: String) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let home = Arc::clone(&self.home);
        let name = name.to_owned();
        blocking(move || {
            let mut images = home.read_built_images()?;
            let is_known = |image: &BuiltImageRecord| image.image_id == image_id && image.env_id == env_id;
            if images.iter().rfind(|image| image.env_id == env_id).is_some_and(is_known) {
                return Ok(());
            }
            let built_at = images.iter().find(|image| is_known(image)).map_or_else(Timestamp::now, |image| image.built_at);
            images.retain(|image| !is_known(image));
            images.push(BuiltImageRecord { image_id: image_id.clone(), name, env_id, built_at });
            home.write_built_images(&images)
        })
        .await
    }

    /// Returns the images that this server built and that still exist, and what uses each of them.
    pub async fn all(&self) -> Result<Vec<BuiltImage>, Problem> {
        self.images_without(&BTreeSet::new()).await
    }

    /// Returns the images that would be unused once these items are deleted.
    pub async fn unused_without(&self, deleted: &[TrashItem]) -> Result<Vec<BuiltImage>, Problem> {
        let environments = deleted.iter().filter(|item| item.kind == TrashKind::Environment).map(|item| item.id.clone());
        let mut images = self.images_without(&environments.collect()).await?;
        images.retain(|image| image.used_by == ImageUse::Nothing);
        Ok(images)
    }

    /// Removes unused images, and returns the removed ones.
    pub async fn remove_unused(&self) -> Result<Vec<BuiltImage>, Problem> {
        let unused = self.unused_without(&[]).await?;
        let mut removed = vec![];
        for image in unused {
            let names = self.recorded().await?.into_iter().map(|record| record.name).collect::<BTreeSet<_>>();
            match self.runner.remove_image(&image.image_id, &names).await {
                Ok(true) => removed.push(image),
                // Something has started to use the image in the meantime.
                Ok(false) => {}
                Err(error) => tracing::warn!(image = image.image_id, %error, "could not remove an unused image"),
            }
        }
        if !removed.is_empty() {
            self.forget_images(&removed).await?;
        }
        Ok(removed)
    }

    async fn forget_images(&self, gone: &[BuiltImage]) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let (home, gone) = (Arc::clone(&self.home), gone.iter().map(|image| image.image_id.clone()).collect::<BTreeSet<_>>());
        blocking(move || {
            let mut images = home.read_built_images()?;
            images.retain(|image| !gone.contains(&image.image_id));
            home.write_built_images(&images)
        })
        .await
    }

    async fn recorded(&self) -> Result<Vec<BuiltImageRecord>, StoreError> {
        let home = Arc::clone(&self.home);
        blocking(move || home.read_built_images()).await
    }

    /// Returns the images as if the repositories `deleted` were no longer in the trash.
    async fn images_without(&self, deleted: &BTreeSet<String>) -> Result<Vec<BuiltImage>, Problem> {
        let recorded = self.recorded().await?;
        if recorded.is_empty() {
            return Ok(vec![]);
        }
        let home = Arc::clone(&self.home);
        let mut users: Vec<_> = vec![];
        for slot in self.environments.all() {
            let (home, id) = (Arc::clone(&self.home), slot.id);
            let snapshots = blocking(move || home.read_snapshots(id)).await?;
            let bases = snapshots.into_iter().filter_map(|snapshot| snapshot.base).collect();
            let record = slot.record();
            let bases = if record.setup_state.running().is_some() { Bases::All } else { Bases::Named(bases) };
            users.push((EnvironmentRecord::clone(&record), bases));
        }
        for found in blocking(move || home.trashed()).await? {
            let id = found.id();
            if let TrashedThing::Environment(record) = found.what
                && !deleted.contains(&id)
            {
                users.push((*record, Bases::All));
            }
        }
        let ids: BTreeSet<_> = recorded.iter().map(|record| record.image_id.clone()).collect();
        let usage = match self.runner.image_usage(&ids).await {
            Ok(usage) => Some(usage),
            Err(error) => {
                tracing::debug!(%error, "could not list the containers that use an image");
                None
            }
        };
        Ok(judged(&recorded, &users, self.config.image.as_deref(), usage.as_deref()))
    }
}

/// The images with which snapshots of a repository start.
enum Bases {
    /// Those with these names.
    Named(BTreeSet<String>),
    /// Possibly any, because a setup is running, or because the snapshots are in the trash.
    All,
}

impl Bases {
    fn include(&self, name: &str) -> bool {
        match self {
            Self::Named(names) => names.contains(name),
            Self::All => true,
        }
    }
}

/// Returns what uses each recorded image, based on its newest record. Images that the container engine no longer has are
/// omitted.
fn judged(
    recorded: &[BuiltImageRecord],
    users: &[(EnvironmentRecord, Bases)],
    default_image: Option<&str>,
    usage: Option<&[ImageUsage]>,
) -> Vec<BuiltImage> {
    let ours: BTreeSet<&str> = recorded.iter().map(|record| record.name.as_str()).collect();
    let of_dockerfiles = users.iter().filter(|(environment, _)| environment.container.dockerfile.is_some());
    let current = of_dockerfiles.filter_map(|(environment, _)| {
        let name = own_image(environment.env_id);
        recorded.iter().rfind(|record| record.env_id == environment.env_id && record.name == name)
    });
    let of_snapshots = users.iter().flat_map(|(environment, bases)| {
        let name = own_image(environment.env_id);
        let of_it = recorded.iter().filter(move |record| record.env_id == environment.env_id && record.name != name);
        of_it.filter(|record| bases.include(&record.name))
    });
    let current: BTreeSet<&str> = current.chain(of_snapshots).map(|record| record.image_id.as_str()).collect();
    let named = users.iter().filter_map(|(environment, _)| environment.container.image.as_deref());
    let named: Vec<&str> = named.chain(default_image).collect();
    let mut images: Vec<BuiltImage> = vec![];
    for record in recorded.iter().rev() {
        if images.iter().any(|image| image.image_id == record.image_id) {
            continue;
        }
        let found = usage.map(|usage| usage.iter().find(|found| found.id == record.image_id));
        let (bytes, used_by) = match found {
            Some(None) => continue,
            None => (None, ImageUse::Unknown),
            Some(Some(found)) => {
                let is_named = named.iter().any(|name| refers(name, found));
                let used_by = if current.contains(record.image_id.as_str()) || is_named {
                    ImageUse::Repository
                } else if found.containers {
                    ImageUse::Container
                } else if found.names.iter().any(|name| !ours.contains(name.as_str())) {
                    ImageUse::OtherName
                } else {
                    ImageUse::Nothing
                };
                (Some(found.size), used_by)
            }
        };
        let BuiltImageRecord { image_id, name, env_id, built_at } = record.clone();
        images.push(BuiltImage { image_id, name, env_id, bytes, built_at, used_by });
    }
    images
}

/// Whether `name` is a name of the image, its ID, or the start of its ID.
fn refers(name: &str, image: &ImageUsage) -> bool {
    let digits = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
    let is_id = name.len() >= SHORTEST_ID && (digits.starts_with(name) || image.id.starts_with(name));
    is_id || image.names.iter().any(|known| known == name || known.strip_suffix(":latest") == Some(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::container::ContainerSettings;
    use model::environment::EnvironmentStatus;
    use model::forge::ForgeSettings;
    use model::names::{RepositoryUrl, Title};
    use model::policy::RunPolicy;

    use super::*;

    const FIRST: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";
    const SECOND: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c651";

    fn record(id: char, env: &str) -> BuiltImageRecord {
        let image_id = format!("sha256:{}", id.to_string().repeat(64));
        let env_id = env.parse().expect("an id");
        BuiltImageRecord { image_id, name: format!("codex-orchestrator-env:{env}"), env_id, built_at: Timestamp::UNIX_EPOCH }
    }

    fn usage(record: &BuiltImageRecord, names: &[&str], containers: bool) -> ImageUsage {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        ImageUsage { id: record.image_id.clone(), size: 7, names, containers }
    }

    fn environment(id: &str, dockerfile: Option<&str>, image: Option<&str>) -> EnvironmentRecord {
        let container = ContainerSettings {
            dockerfile: dockerfile.map(str::to_owned),
            image: image.map(str::to_owned),
            ..ContainerSettings::default()
        };
        EnvironmentRecord {
            env_id: id.parse().expect("an id"),
            name: Title::parse("x").expect("a name"),
            repo_url: RepositoryUrl::parse("https://example.org/x.git").expect("a URL"),
            default_branch: None,
            status: EnvironmentStatus::Ready,
            error: None,
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            former_secrets: vec![],
            container,
            runs: RunPolicy::default(),
            forge: ForgeSettings::default(),
            commits: model::commit::CommitSettings::default(),
            sources: model::sources::SourceSettings::default(),
            setup: model::setup::SetupSettings::default(),
            setup_state: model::setup::SetupState::default(),
            forge_token: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            extra: serde_json::Map::new(),
        }
    }

    fn uses(recorded: &[BuiltImageRecord], environments: &[EnvironmentRecord], usage: &[ImageUsage]) -> Vec<ImageUse> {
        let users: Vec<_> = environments.iter().map(|record| (record.clone(), Bases::Named(BTreeSet::new()))).collect();
        judged(recorded, &users, None, Some(usage)).iter().map(|image| image.used_by).collect()
    }

    #[test]
    fn an_image_of_a_description_stays_while_a_snapshot_starts_with_it() {
        let image = BuiltImageRecord { name: format!("codex-orchestrator-env:{FIRST}-0123456789ab"), ..record('a', FIRST) };
        let (recorded, found) = ([image.clone()], [usage(&image, &[&image.name], false)]);
        let with = |bases: Bases| {
            let users = [(environment(FIRST, Some("/D"), None), bases)];
            judged(&recorded, &users, None, Some(&found))[0].used_by
        };
        assert_eq!(with(Bases::Named(BTreeSet::from([image.name.clone()]))), ImageUse::Repository);
        assert_eq!(with(Bases::Named(BTreeSet::new())), ImageUse::Nothing, "it is not the image of the Dockerfile");
        assert_eq!(with(Bases::All), ImageUse::Repository, "a setup is running");
    }

    #[test]
    fn only_the_newest_image_of_a_repository_with_a_dockerfile_is_used_by_it() {
        let (old, new) = (record('a', FIRST), record('b', FIRST));
        let (recorded, found) = ([old.clone(), new.clone()], [usage(&old, &[], false), usage(&new, &[&new.name], false)]);
        let with = |dockerfile, image| uses(&recorded, &[environment(FIRST, dockerfile, image)], &found);
        assert_eq!(with(Some("/D"), None), [ImageUse::Repository, ImageUse::Nothing]);
        assert_eq!(with(None, None), [ImageUse::Nothing, ImageUse::Nothing]);
        assert_eq!(with(None, Some("aaaaaaaaaaaa")), [ImageUse::Nothing, ImageUse::Repository], "an ID names an image");
        assert_eq!(uses(&recorded, &[environment(SECOND, None, Some(&new.name))], &found)[0], ImageUse::Repository);
        assert_eq!(uses(&recorded, &[], &found), [ImageUse::Nothing, ImageUse::Nothing]);
    }

    #[test]
    fn an_image_with_a_container_or_a_name_of_somebody_elses_stays() {
        let image = record('a', FIRST);
        let recorded = [image.clone()];
        assert_eq!(uses(&recorded, &[], &[usage(&image, &[&image.name], true)]), [ImageUse::Container]);
        assert_eq!(uses(&recorded, &[], &[usage(&image, &[&image.name, "mine:1"], false)]), [ImageUse::OtherName]);
        assert_eq!(uses(&recorded, &[], &[]), [], "the container engine no longer has the image");
        assert_eq!(judged(&recorded, &[], None, None)[0].used_by, ImageUse::Unknown);
        let again = [image.clone(), record('a', SECOND)];
        let with_second = environment(SECOND, Some("/D"), None);
        let found = [usage(&image, &[&image.name, &again[1].name], false)];
        assert_eq!(uses(&again, &[with_second], &found), [ImageUse::Repository], "one repository still uses the image");
    }
}
