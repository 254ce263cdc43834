//! Records of tasks: what is kept, what is refused, and what a failed write leaves behind.

use fs_err as fs;
use model::image::{GivenImage, Image, ImageBytes};
use serde_json::{Value, json};

use crate::support::{assert_no_temporary_file, block, home, mode, task, task_id};

const PNG: &[u8] = include_bytes!("../../../testkit/fixtures/dot.png");

fn image() -> Image {
    Image::parse(GivenImage { name: "a.png".to_owned(), data: ImageBytes(PNG.to_vec()) }).expect("an image")
}

fn edited(text: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(text).expect("JSON");
    edit(&mut value);
    value.to_string()
}

#[test]
fn fields_of_another_version_survive_a_rewrite() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    let meta = home.layout.meta(task_id(1));
    let text = fs::read_to_string(&meta).expect("there");
    let with_unknown = edited(&text, |value| {
        value["color"] = json!({ "of": ["the", "task"] });
        value["runs"][0]["mood"] = json!("good");
    });
    fs::write(&meta, with_unknown).expect("written");
    let mut found = home.read_tasks().expect("read");
    let mut record = found.records.remove(0);
    record.updated_at = crate::support::time(5);
    home.write_task(&record).expect("written");
    let rewritten: Value = serde_json::from_str(&fs::read_to_string(&meta).expect("there")).expect("JSON");
    assert_eq!(rewritten["color"], json!({ "of": ["the", "task"] }));
    assert_eq!(rewritten["runs"][0]["mood"], "good");
}

#[test]
fn a_record_is_pretty_private_and_ends_with_a_line_break() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    let meta = home.layout.meta(task_id(1));
    let text = fs::read_to_string(&meta).expect("there");
    assert!(text.starts_with("{\n  \"schema\": 1,") && text.ends_with("}\n"), "{text}");
    assert_eq!(mode(&meta), 0o600);
    assert!(home.layout.logs(task_id(1)).is_dir());
}

#[test]
fn every_kind_of_damage_is_reported_and_changes_nothing() {
    let check = |text: &str, reason: &str| {
        let (_folder, home) = home();
        home.put_task(&task(1)).expect("written");
        home.put_task(&task(2)).expect("written");
        let meta = home.layout.meta(task_id(1));
        fs::write(&meta, text).expect("written");
        let found = home.read_tasks().expect("read");
        assert_eq!(found.records, [task(2)], "{text}");
        assert_eq!(found.damaged.len(), 1, "{text}");
        let damaged = &found.damaged[0];
        assert_eq!((damaged.id.as_str(), damaged.path.as_str()), (&*task_id(1).to_string(), &*meta.display().to_string()));
        assert!(damaged.reason.contains(reason) && !damaged.hints.is_empty(), "{text}: {damaged:?}");
        assert_eq!(fs::read_to_string(&meta).expect("there"), text, "the file is unchanged");
    };
    let (_folder, sample_home) = home();
    sample_home.put_task(&task(1)).expect("written");
    let good = fs::read_to_string(sample_home.layout.meta(task_id(1))).expect("there");
    check("", "EOF");
    check("\0\0\0\0\0\0\0\0", "expected value");
    check("null", "");
    check("[]", "");
    check("{}", "missing field `schema`");
    check(&good[..good.len() / 2], "EOF");
    check(&format!("{good}{good}"), "trailing characters");
    check(&good.replacen("\"schema\": 1", "\"schema\": 2", 1), "a newer version wrote it (schema 2; this version supports 1)");
    check(&good.replacen("\"schema\": 1", "\"schema\": 18446744073709551615", 1), "a newer version wrote it");
    check(r#"{"schema":2,"everything":"is new"}"#, "a newer version wrote it");
    check(&good.replacen("\"schema\": 1", "\"schema\": \"1\"", 1), "invalid type");
    check(&edited(&good, |value| value["task_id"] = json!(task_id(2).to_string())), "it belongs to another task");
    check(&edited(&good, |value| value["runs"] = json!([])), "");
    check(&edited(&good, |value| value["status"] = json!("dancing")), "");
    check(&edited(&good, |value| value["repo_url"] = json!("ext::sh -c evil")), "");
    check(&edited(&good, |value| value["created_at"] = json!("yesterday")), "");
}

#[test]
fn a_record_that_is_a_folder_is_reported() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    block(&home.layout.meta(task_id(1)));
    let found = home.read_tasks().expect("read");
    assert!(found.records.is_empty() && found.damaged.len() == 1, "{found:?}");
}

#[test]
fn a_file_among_the_tasks_is_ignored() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    fs::write(home.layout.tasks().join("notes.txt"), "x").expect("written");
    fs::create_dir(home.layout.tasks().join("lost+found")).expect("made");
    let found = home.read_tasks().expect("read");
    assert_eq!((found.records, found.damaged), (vec![task(1)], vec![]));
}

#[test]
fn tasks_cannot_be_read_without_their_folder() {
    let (_folder, home) = home();
    fs::remove_dir(home.layout.tasks()).expect("removed");
    let error = home.read_tasks().expect_err("no folder");
    assert!(error.to_string().starts_with(&format!("could not read `{}`", home.layout.tasks().display())), "{error}");
}

#[test]
fn a_failed_write_keeps_the_old_record_and_leaves_no_temporary_file() {
    let (_folder, home) = home();
    home.write_task(&task(1)).expect_err("no folder is created for a missing task");
    assert!(!home.layout.task(task_id(1)).exists());
    home.put_task(&task(1)).expect("written");
    let meta = home.layout.meta(task_id(1));
    block(&meta);
    home.write_task(&task(1)).expect_err("blocked");
    assert!(meta.join("blocked").is_dir());
    assert_no_temporary_file(&home.layout.task(task_id(1)));
}

#[test]
fn a_task_that_cannot_be_created_leaves_nothing_behind() {
    let (_folder, home) = home();
    fs::create_dir_all(home.layout.task(task_id(1))).expect("made");
    fs::write(home.layout.images(task_id(1)), "a file in place of the folder").expect("written");
    home.write_images(task_id(1), &[image()]).expect_err("no images");
    home.delete_incomplete_task(task_id(1)).expect("deleted");
    home.delete_incomplete_task(task_id(1)).expect("deleting it twice is harmless");
    assert!(!home.layout.task(task_id(1)).exists());
    let found = home.read_tasks().expect("read");
    assert!(found.records.is_empty() && found.damaged.is_empty(), "{found:?}");
    home.write_images(task_id(1), &[image()]).and_then(|()| home.put_task(&task(1))).expect("a second try succeeds");
    assert_eq!(home.read_image(task_id(1), &image().file).expect("read"), PNG);
}

#[test]
fn many_records_are_written_at_once_and_each_is_whole() {
    let (_folder, home) = home();
    std::thread::scope(|scope| {
        for n in 0..4_u128 {
            let home = &home;
            scope.spawn(move || {
                home.put_task(&task(n)).expect("written");
                for title in 0..10 {
                    let mut record = task(n);
                    record.title = model::names::Title::parse(&format!("{n} {}", "x".repeat(title * 10))).expect("a title");
                    home.write_task(&record).expect("written");
                    let found = home.read_tasks().expect("read");
                    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
                }
            });
        }
    });
    assert_eq!(home.read_tasks().expect("read").records.len(), 4);
}

#[test]
fn the_folders_for_containers_are_private_and_making_them_twice_is_harmless() {
    let (_folder, home) = home();
    home.put_task(&task(1)).expect("written");
    for _ in 0..2 {
        home.make_container_folders(task_id(1)).expect("made");
    }
    assert_eq!((mode(&home.layout.sessions(task_id(1))), mode(&home.layout.containers())), (0o700, 0o700));
}

#[test]
fn an_image_that_was_replaced_or_grew_is_not_read() {
    let (_folder, home) = home();
    home.write_images(task_id(1), &[image()]).expect("written");
    let file = home.layout.images(task_id(1)).join(image().file.file.to_string());
    let kind = |bytes: &[u8]| {
        fs::write(&file, bytes).expect("written");
        home.read_image(task_id(1), &image().file).expect_err("changed").kind()
    };
    assert_eq!(kind(b""), std::io::ErrorKind::InvalidData);
    assert_eq!(kind(&[PNG, b"x"].concat()), std::io::ErrorKind::InvalidData);
    fs::File::create(&file).expect("made").set_len(1 << 40).expect("sparse");
    let huge = home.read_image(task_id(1), &image().file).expect_err("huge");
    assert_eq!(huge.kind(), std::io::ErrorKind::InvalidData, "only the allowed size is read");
    block(&file);
    home.read_image(task_id(1), &image().file).expect_err("a folder");
    home.write_images(task_id(1), &[image()]).expect_err("a folder is not replaced");
}

#[test]
fn the_same_image_in_two_tasks_is_stored_twice() {
    let (_folder, home) = home();
    for n in [1, 2] {
        home.write_images(task_id(n), &[image(), image()]).and_then(|()| home.put_task(&task(n))).expect("written");
        assert_eq!(fs::read_dir(home.layout.images(task_id(n))).expect("there").count(), 1, "within a task, it is stored once");
    }
    home.discard_task(task_id(1)).expect("moved");
    assert_eq!(home.read_image(task_id(2), &image().file).expect("read"), PNG);
}
