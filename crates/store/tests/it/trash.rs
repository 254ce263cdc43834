//! The trash: what is in it, how it is found, and what happens when two things want the same place.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use fs_err as fs;
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use store::{Home, TrashedThing};

use crate::support::{block, env_id, environment, home, task, task_id, time};

fn kinds(home: &Home) -> Vec<(String, &'static str)> {
    let mut kinds: Vec<_> = home
        .trashed()
        .expect("read")
        .into_iter()
        .map(|found| {
            let kind = match &found.what {
                TrashedThing::Task(_, true) => "removed task",
                TrashedThing::Task(_, false) => "task",
                TrashedThing::Environment(_) => "repository",
                TrashedThing::Other => "other",
            };
            (found.id(), kind)
        })
        .collect();
    kinds.sort();
    kinds
}

#[test]
fn everything_in_the_trash_is_listed_by_its_kind() {
    let (_folder, home) = home();
    for n in [1, 2] {
        home.put_task(&task(n)).expect("written");
        home.discard_task(task_id(n)).expect("moved");
    }
    home.mark_removed(task_id(2)).expect("marked");
    home.put_environment(&environment(3)).expect("written");
    home.discard_environment(env_id(3)).expect("moved");
    fs::create_dir(home.layout.trash().join("found-x")).expect("made");
    fs::write(home.layout.trash().join("file"), "").expect("written");
    let expect = [
        (task_id(1).to_string(), "task"),
        (task_id(2).to_string(), "removed task"),
        (env_id(3).to_string(), "repository"),
        ("file".to_owned(), "other"),
        ("found-x".to_owned(), "other"),
    ];
    assert_eq!(kinds(&home), expect);
}

#[test]
fn a_damaged_record_in_the_trash_is_an_item_that_can_be_deleted() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    home.discard_task(task_id(1)).expect("moved");
    let folder = home.trashed_task(task_id(1));
    fs::write(folder.join("meta.json"), "{").expect("written");
    assert_eq!(kinds(&home), [(task_id(1).to_string(), "other")]);
    home.delete_trashed(&folder).expect("deleted");
    assert!(kinds(&home).is_empty());
}

#[test]
fn an_item_was_removed_when_its_record_last_changed() {
    let (_folder, home) = home();
    let mut changed = task(1);
    changed.updated_at = time(99);
    home.put_task(&changed).expect("written");
    home.discard_task(task_id(1)).expect("moved");
    home.put_environment(&EnvironmentRecord { updated_at: time(77), ..environment(3) }).expect("written");
    home.discard_environment(env_id(3)).expect("moved");
    let task = home.find_trashed_task(task_id(1)).expect("read").expect("there");
    let environment = home.find_trashed_environment(env_id(3)).expect("read").expect("there");
    assert_eq!((task.removed_at, environment.removed_at), (time(99), time(77)));
}

#[test]
fn what_is_not_in_the_trash_is_not_found_there() {
    let (_folder, home) = home();
    assert!(home.find_trashed_task(task_id(1)).expect("read").is_none());
    assert!(home.find_trashed_environment(env_id(1)).expect("read").is_none());
    home.put_task(&task(1)).expect("written");
    assert!(home.find_trashed_task(task_id(1)).expect("read").is_none());
}

#[test]
fn discarding_what_does_not_exist_does_nothing() {
    let (_folder, home) = home();
    home.discard_task(task_id(1)).expect("nothing to do");
    home.discard_environment(env_id(1)).expect("nothing to do");
    home.delete_discarded_environment(env_id(1)).expect("nothing to do");
    assert!(kinds(&home).is_empty());
}

#[test]
fn a_task_does_not_replace_one_that_is_already_in_its_place() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    home.discard_task(task_id(1)).expect("moved");
    fs::create_dir_all(home.layout.logs(task_id(1))).expect("made");
    home.write_task(&task(1)).expect("written");
    let error = home.discard_task(task_id(1)).expect_err("the trash has one");
    assert!(error.to_string().starts_with("could not remove `"), "{error}");
    let error = home.put_task(&task(1)).expect_err("there is one");
    assert!(error.to_string().starts_with("could not restore `"), "{error}");
    assert_eq!(home.read_tasks().expect("read").records, [task(1)]);
    assert_eq!(kinds(&home), [(task_id(1).to_string(), "task")], "both are unchanged");
}

#[test]
fn a_restored_task_has_the_new_record() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    fs::write(home.layout.logs(task_id(1)).join("1.jsonl"), "log").expect("written");
    home.discard_task(task_id(1)).expect("moved");
    let mut restored = task(1);
    restored.title = model::names::Title::parse("Restored").expect("a title");
    home.put_task(&restored).expect("restored");
    assert_eq!(home.read_tasks().expect("read").records, [restored]);
    assert_eq!(fs::read_to_string(home.layout.logs(task_id(1)).join("1.jsonl")).expect("there"), "log");
}

#[test]
fn a_mark_can_be_set_and_removed_twice() {
    let (_folder, home) = home();
    home.mark_removed(task_id(1)).expect_err("the task does not exist");
    home.unmark_removed(task_id(1)).expect("there is no mark");
    home.put_task(&task(1)).expect("written");
    home.discard_task(task_id(1)).expect("moved");
    for _ in 0..2 {
        home.mark_removed(task_id(1)).expect("marked");
        assert_eq!(kinds(&home), [(task_id(1).to_string(), "removed task")]);
    }
    for _ in 0..2 {
        home.unmark_removed(task_id(1)).expect("unmarked");
        assert_eq!(kinds(&home), [(task_id(1).to_string(), "task")]);
    }
    block(&home.trashed_task(task_id(1)).join("removal-finished"));
    home.unmark_removed(task_id(1)).expect_err("a folder is not a mark");
}

#[test]
fn a_restored_repository_keeps_its_mirror_and_secrets() {
    let (_folder, home) = home();
    home.put_environment(&environment(3)).expect("written");
    fs::create_dir_all(home.layout.mirror(env_id(3)).join("objects")).expect("made");
    home.discard_environment(env_id(3)).expect("moved");
    assert!(home.read_environments().expect("read").records.is_empty());
    let ready = EnvironmentRecord { status: EnvironmentStatus::Ready, ..environment(3) };
    home.put_environment(&ready).expect("restored");
    assert_eq!(home.read_environments().expect("read").records, [ready]);
    assert!(kinds(&home).is_empty());
    assert!(home.layout.mirror(env_id(3)).join("objects").is_dir());
}

#[test]
fn folders_with_a_record_are_no_leftovers() {
    let (_folder, home) = home();
    let in_trash = |n: u128, status: EnvironmentStatus| {
        home.put_environment(&EnvironmentRecord { status, ..environment(n) }).expect("written");
        home.discard_environment(env_id(n)).expect("moved");
    };
    in_trash(1, EnvironmentStatus::Cloning);
    in_trash(2, EnvironmentStatus::Ready);
    home.put_environment(&EnvironmentRecord { status: EnvironmentStatus::Cloning, ..environment(3) }).expect("written");
    home.put_task(&task(4)).expect("written");
    home.discard_folders_without_record(|_| false).expect("tidied");
    home.discard_folders_without_record(|_| false).expect("tidying twice is harmless");
    assert_eq!(kinds(&home).len(), 2, "the trash is unchanged");
    assert_eq!(home.read_environments().expect("read").records.len(), 1, "a clone that is not in the trash continues");
    assert_eq!(home.read_tasks().expect("read").records.len(), 1);
}

#[test]
fn folders_without_a_record_get_free_names_in_the_trash() {
    let (_folder, home) = home();
    for n in 0..3 {
        fs::create_dir_all(home.layout.tasks().join("half")).expect("made");
        fs::write(home.layout.tasks().join("half/number"), n.to_string()).expect("written");
        home.discard_folders_without_record(|_| false).expect("tidied");
    }
    fs::create_dir_all(home.layout.environments().join("half")).expect("made");
    home.discard_folders_without_record(|_| false).expect("tidied");
    let names: Vec<_> = kinds(&home).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["found-half", "found-half-1", "found-half-2", "found-half-3"]);
    let second = home.layout.trash().join("found-half-1/number");
    assert_eq!(fs::read_to_string(second).expect("there"), "1", "nothing is overwritten");
}

#[test]
fn a_folder_with_a_known_name_is_no_leftover() {
    let (_folder, home) = home();
    for name in ["known", "unknown"] {
        fs::create_dir_all(home.layout.tasks().join(name)).expect("made");
    }
    home.discard_folders_without_record(|name| name == "known").expect("tidied");
    let names: Vec<_> = kinds(&home).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["found-unknown"]);
    assert_eq!(home.names_in_trash().expect("read").len(), 1);
    assert!(home.in_trash("found-unknown".as_ref()).expect("read").is_some());
    assert!(home.in_trash("nothing".as_ref()).expect("read").is_none());
}

#[test]
fn a_damaged_record_is_not_tidied_away() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    fs::write(home.layout.meta(task_id(1)), "{").expect("written");
    home.discard_folders_without_record(|_| false).expect("tidied");
    assert_eq!(fs::read_to_string(home.layout.meta(task_id(1))).expect("there"), "{");
}

#[test]
fn the_folders_of_all_tasks_are_listed_with_their_repository_if_it_is_known() {
    let (_folder, home) = home();
    for n in 1..=3 {
        home.put_task(&task(n)).expect("written");
    }
    home.discard_task(task_id(2)).expect("moved");
    fs::write(home.layout.meta(task_id(3)), "{").expect("written");
    fs::write(home.layout.trash().join("file"), "").expect("written");
    let mut found = home.task_folders().expect("read");
    found.sort();
    let mut expect = vec![
        (home.layout.task(task_id(1)), Some(env_id(7))),
        (home.layout.task(task_id(3)), None),
        (home.trashed_task(task_id(2)), Some(env_id(7))),
    ];
    expect.sort();
    assert_eq!(found, expect);
}

#[test]
fn a_task_that_is_moved_meanwhile_is_never_missing_from_the_folders() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    let barrier = Barrier::new(2);
    for n in 0..100 {
        let folders = std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                let moved = if n % 2 == 0 { home.discard_task(task_id(1)) } else { home.put_task(&task(1)) };
                moved.expect("moved");
            });
            barrier.wait();
            home.task_folders().expect("read")
        });
        assert!(folders.iter().any(|(folder, _)| folder.ends_with(task_id(1).to_string())), "move {n}: {folders:?}");
    }
}

#[test]
fn the_trash_can_be_listed_while_items_are_deleted() {
    let (_folder, home) = home();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..300 {
                let path = home.layout.trash().join(format!("found-{n}"));
                fs::create_dir(&path).expect("made");
                home.delete_trashed(&path).expect("deleted");
            }
            is_done.store(true, Ordering::Release);
        });
        while !is_done.load(Ordering::Acquire) {
            home.trashed().expect("an item that is gone is not an error");
        }
    });
    assert!(kinds(&home).is_empty());
}
