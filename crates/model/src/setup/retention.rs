//! Decides which snapshots stay: those that a task uses, the newest ones of each repository, and no more than fit into a limit.

use std::collections::{BTreeMap, BTreeSet};

use super::key::SnapshotKey;
use super::snapshot::Snapshot;

/// The number of snapshots of a repository that stay even if no task uses them, as long as they are within the limit.
const NEWEST: usize = 2;

/// Returns the snapshots of each repository that stay. `repositories` contains their snapshots, newest first.
///
/// If the snapshots are larger than `limit_bytes`, only the newest one of each repository and those that tasks use stay for sure. The
/// others are given up in the order of their age until the rest is within the limit.
pub fn needed_snapshots<R: Ord + Copy>(
    repositories: &BTreeMap<R, Vec<Snapshot>>,
    used: &BTreeSet<SnapshotKey>,
    limit_bytes: u64,
) -> BTreeMap<R, BTreeSet<SnapshotKey>> {
    let mut needed: BTreeMap<R, BTreeSet<SnapshotKey>> = BTreeMap::new();
    let mut spare = vec![];
    let mut total = 0_u64;
    for (repository, snapshots) in repositories {
        let stay = needed.entry(*repository).or_default();
        for (age, snapshot) in snapshots.iter().enumerate() {
            let is_used = used.contains(&snapshot.key);
            if is_used || age < NEWEST {
                stay.insert(snapshot.key.clone());
                total = total.saturating_add(snapshot.bytes());
            }
            if !is_used && (1..NEWEST).contains(&age) {
                spare.push((*repository, snapshot));
            }
        }
    }
    spare.sort_by_key(|(_, snapshot)| snapshot.created_at);
    for (repository, snapshot) in spare {
        if total <= limit_bytes {
            break;
        }
        total = total.saturating_sub(snapshot.bytes());
        if let Some(stay) = needed.get_mut(&repository) {
            stay.remove(&snapshot.key);
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::setup::{FolderContent, KeepPath, LayerTarget, SnapshotFolder};

    fn key(digit: char) -> SnapshotKey {
        SnapshotKey::parse(&digit.to_string().repeat(64)).expect("a key")
    }

    /// Returns a snapshot of 10 bytes. Its age is that of its digit.
    fn snapshot(digit: char) -> Snapshot {
        let target = LayerTarget::Keep(KeepPath::parse("node_modules").expect("a path"));
        Snapshot {
            key: key(digit),
            commit: "b".repeat(40).parse().expect("an ID"),
            image: None,
            base: None,
            folders: vec![SnapshotFolder { target, content: Some(FolderContent { number: 0, files: 1, bytes: 10 }) }],
            family: None,
            updated_from: None,
            updates: 0,
            created_at: Timestamp::from_second(i64::from(u32::from(digit))).expect("a time"),
            seconds: 1.0,
        }
    }

    fn check(repositories: &[&str], used: &str, limit: u64, expect: &[&str]) {
        let all = repositories.iter().enumerate().map(|(number, digits)| (number, digits.chars().map(snapshot).collect()));
        let used = used.chars().map(key).collect();
        let needed = needed_snapshots(&all.collect(), &used, limit);
        let expected: Vec<BTreeSet<_>> = expect.iter().map(|digits| digits.chars().map(key).collect()).collect();
        assert_eq!(needed.into_values().collect::<Vec<_>>(), expected, "{repositories:?}, used {used:?}, limit {limit}");
    }

    #[test]
    fn the_newest_ones_and_those_that_tasks_use_stay() {
        check(&["dcba"], "", 1000, &["dc"]);
        check(&["dcba"], "a", 1000, &["dca"]);
        check(&["dcba", "3", ""], "c", 1000, &["dc", "3", ""]);
    }

    #[test]
    fn beyond_the_limit_the_oldest_are_given_up_first_but_not_the_newest_of_a_repository() {
        check(&["dc", "ba"], "", 40, &["dc", "ba"]);
        check(&["dc", "ba"], "", 39, &["dc", "b"]);
        check(&["dc", "ba"], "", 29, &["d", "b"]);
        check(&["dc", "ba"], "", 0, &["d", "b"]);
        check(&["dcba"], "ca", 0, &["dca"]);
        check(&["dcba"], "b", 20, &["db"]);
    }
}
