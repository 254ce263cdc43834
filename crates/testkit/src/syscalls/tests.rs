//! Small handwritten traces: correct ones, and traces that break a rule. These tests need neither a disk nor strace.

use std::path::Path;

use super::check;

const TASK: &str = "01a20000-0000-7000-8000-000000000001";
const ENV: &str = "01a20000-0000-7000-8000-000000000002";

/// Returns the violations in the trace of one thread, with a call on each line.
fn found(calls: &str) -> Vec<String> {
    let trace: Vec<String> = calls.lines().map(|line| format!("7 {}", line.trim())).collect();
    check(&trace.join("\n"), Path::new("/h"), Path::new("/"))
}

#[track_caller]
fn one_violation(calls: &str, words: &[&str]) {
    let found = found(calls);
    assert_eq!(found.len(), 1, "{found:#?}");
    for word in words {
        assert!(found[0].contains(word), "`{word}` is not in {found:#?}");
    }
}

fn folders() -> String {
    format!(
        r#"mkdir("/h/tasks", 0700) = 0
        mkdir("/h/tasks/{TASK}", 0700) = 0
        mkdir("/h/tasks/{TASK}/logs", 0700) = 0
        mkdir("/h/envs", 0700) = 0
        mkdir("/h/envs/{ENV}", 0700) = 0
        mkdir("/h/envs/{ENV}/mirror", 0700) = 0
        mkdir("/h/envs/{ENV}/mirror/objects", 0700) = 0
        syncfs(3</h>) = 0
        "#
    )
}

/// Returns the calls with which the product writes a record: a temporary file, fsync, rename, fsync of the folder.
fn record(path: &str, json: &str) -> String {
    let (folder, _) = path.rsplit_once('/').expect("a path has a folder");
    let json = json.replace('"', "\\\"");
    format!(
        r#"openat(AT_FDCWD</>, "{folder}/.new-1", O_WRONLY|O_CREAT|O_EXCL, 0600) = 4<{folder}/.new-1>
        write(4<{folder}/.new-1>, "{json}", 9) = 9
        fsync(4<{folder}/.new-1>) = 0
        rename("{folder}/.new-1", "{path}") = 0
        openat(AT_FDCWD</>, "{folder}", O_RDONLY) = 5<{folder}>
        fsync(5<{folder}>) = 0
        "#
    )
}

fn file(path: &str) -> String {
    format!("openat(AT_FDCWD</>, \"{path}\", O_WRONLY|O_CREAT, 0600) = 6<{path}>\nwrite(6<{path}>, \"x\", 1) = 1\n")
}

fn meta(status: &str, commit: &str) -> String {
    let commit = if commit.is_empty() { "null".to_owned() } else { format!("\"{commit}\"") };
    let run = format!(r#"{{"number":1,"log":"logs/run-001.jsonl","status":"{status}","commit":{commit},"thread_id":"t1"}}"#);
    let json = format!(r#"{{"task_id":"{TASK}","env_id":"{ENV}","base_sha":null,"runs":[{run}]}}"#);
    record(&format!("/h/tasks/{TASK}/meta.json"), &json)
}

fn ready() -> String {
    record(&format!("/h/envs/{ENV}/env.json"), r#"{"status":"ready"}"#)
}

fn log() -> String {
    format!("/h/tasks/{TASK}/logs/run-001.jsonl")
}

fn object() -> String {
    format!("/h/envs/{ENV}/mirror/objects/abc")
}

#[test]
fn a_run_whose_files_are_synced_one_by_one_is_right() {
    let (log, object) = (log(), object());
    let calls = [folders(), ready(), file(&log), file(&object)].concat()
        + &format!("fsync(6<{log}>) = 0\nfsync(6</h/tasks/{TASK}/logs>) = 0\n")
        + &format!("fdatasync(6<{object}>) = 0\nfsync(6</h/envs/{ENV}/mirror/objects>) = 0\n")
        + &meta("completed", "abc");
    assert_eq!(found(&calls), [""; 0]);
}

#[test]
fn one_sync_of_the_file_system_is_as_good() {
    let calls =
        [folders(), ready(), file(&log()), file(&object()), "syncfs(3</h/lock>) = 0\n".to_owned(), meta("completed", "abc")];
    assert_eq!(found(&calls.concat()), [""; 0]);
}

#[test]
fn a_sync_of_another_file_system_does_not_count() {
    let calls = [folders(), file(&log()), "syncfs(3</elsewhere>) = 0\n".to_owned(), meta("completed", "")];
    assert_eq!(found(&calls.concat()).len(), 2, "the data and the name of the log are not synced");
}

#[test]
fn a_record_whose_data_is_not_synced_is_found() {
    let broken = meta("queued", "").replace(&format!("fsync(4</h/tasks/{TASK}/.new-1>) = 0"), "");
    let calls = [folders(), broken, format!("fsync(4</h/tasks/{TASK}/meta.json>) = 0\n")].concat();
    one_violation(&calls, &["renames", "meta.json", "no fsync of its data"]);
}

#[test]
fn a_record_whose_folder_is_not_synced_is_found() {
    let broken = meta("queued", "").replace(&format!("fsync(5</h/tasks/{TASK}>) = 0"), "");
    let found = found(&[folders(), broken, ready()].concat());
    assert!(found[0].contains("the thread that renamed") && found[0].contains("meta.json"), "{found:#?}");
    assert!(found[1].contains("at the end") && found[1].contains("tasks/…0001`"), "{found:#?}");
}

#[test]
fn a_run_that_is_recorded_before_its_log_is_synced_is_found() {
    let log = log();
    let synced_name = format!("fsync(6</h/tasks/{TASK}/logs>) = 0\n");
    one_violation(
        &[folders(), file(&log), synced_name, meta("stopped", "")].concat(),
        &["run 1", "stopped", "run-001.jsonl", "no fsync of"],
    );
}

#[test]
fn a_log_whose_folder_is_not_synced_is_found() {
    let log = log();
    one_violation(
        &[folders(), file(&log), format!("fsync(6<{log}>) = 0\n"), meta("failed", "")].concat(),
        &["the folder", "/logs`"],
    );
}

#[test]
fn a_session_that_is_not_synced_is_found() {
    let session = "mkdir(\"/h/codex\", 0700) = 0\nmkdir(\"/h/codex/sessions\", 0700) = 0\nsyncfs(3</h>) = 0\n".to_owned()
        + &file("/h/codex/sessions/rollout-t1.jsonl")
        + "fsync(6</h/codex/sessions>) = 0\n";
    one_violation(&[folders(), session, meta("completed", "")].concat(), &["rollout-t1.jsonl"]);
}

#[test]
fn an_object_whose_folder_is_not_synced_is_found() {
    let object = object();
    let calls = [folders(), ready(), file(&object), format!("fsync(6<{object}>) = 0\n"), meta("completed", "abc")];
    one_violation(&calls.concat(), &["the folder", "mirror/objects`"]);
}

#[test]
fn a_sync_that_runs_during_a_write_does_not_cover_it() {
    let log = log();
    let synced_name = format!("fsync(6</h/tasks/{TASK}/logs>) = 0\n");
    let race = format!("write(6<{log}>, \"x\" <unfinished ...>\n8fsync(7<{log}>) = 0\n<... write resumed>, 1) = 1\n");
    let calls = [folders(), file(&log), synced_name, race, meta("completed", "")].concat();
    let line_of = |line: &str| line.strip_prefix('8').map_or_else(|| format!("7 {line}"), |other| format!("8 {other}"));
    let trace: Vec<String> = calls.lines().map(|line| line_of(line.trim())).collect();
    let found = check(&trace.join("\n"), Path::new("/h"), Path::new("/"));
    assert!(found.len() == 1 && found[0].contains("run-001.jsonl"), "{found:#?}");
}

#[test]
fn a_repository_that_is_ready_before_its_mirror_is_synced_is_found() {
    let object = object();
    let synced_name = format!("fsync(6</h/envs/{ENV}/mirror/objects>) = 0\n");
    one_violation(&[folders(), file(&object), synced_name, ready()].concat(), &["env.json", "ready", "objects/abc"]);
}

#[test]
fn a_ref_that_replaces_another_one_before_its_data_is_synced_is_found() {
    let mirror = format!("/h/envs/{ENV}/mirror");
    // Git renames files with paths relative to the working directory of the process.
    let change =
        file(&format!("{mirror}/HEAD.lock")) + &format!("chdir(\"{mirror}\") = 0\nrename(\"HEAD.lock\", \"HEAD\") = 0\n");
    one_violation(&[folders(), ready(), change].concat(), &["mirror/HEAD`", "no fsync of its data"]);
}

#[test]
fn a_child_starts_in_the_folder_of_its_parent() {
    let trace = "7 chdir(\"/h\") = 0\n7 vfork( <unfinished ...>\n8 mkdir(\"a\", 0700) = 0\n7 <... vfork resumed>) = 8\n\
        8 openat(AT_FDCWD</h>, \"a/x.json\", O_WRONLY|O_CREAT, 0600) = 3</h/a/x.json>\n8 fsync(3</h/a>) = 0\n";
    let found = check(trace, Path::new("/h"), Path::new("/"));
    assert!(found.len() == 1 && found[0].contains("which made `a`"), "{found:#?}");
}

#[test]
fn an_answer_before_the_new_folder_is_synced_is_found() {
    let unsynced = folders().replace("syncfs(3</h>) = 0\n", "");
    let answer = format!("writev(9<socket:[1]>, [{{iov_base=\"HTTP/1.1 201 Created\\r\\n{TASK}\", iov_len=9}}], 1) = 9\n");
    let calls = [unsynced, meta("queued", ""), answer, "syncfs(3</h>) = 0\n".to_owned()];
    let found = found(&calls.concat());
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|violation| violation.contains("answers 201") && violation.contains("the folder")), "{found:#?}");
}

#[test]
fn a_task_that_is_restored_before_its_branch_is_synced_is_found() {
    let record = format!(r#"{{"task_id":"{TASK}","env_id":"{ENV}","runs":[]}}"#);
    let in_trash = "mkdir(\"/h/trash\", 0700) = 0\nmkdir(\"/h/trash/a\", 0700) = 0\nsyncfs(3</h>) = 0\n".to_owned()
        + &self::record("/h/trash/a/meta.json", &record);
    let synced_name = format!("fsync(6</h/envs/{ENV}/mirror/objects>) = 0\n");
    let moved = "rename(\"/h/trash/a\", \"/h/tasks/again\") = 0\nfsync(3</h/tasks>) = 0\n".to_owned();
    let calls = [folders(), in_trash, file(&object()), synced_name, moved];
    one_violation(&calls.concat(), &["out of the trash", "objects/abc", "no fsync of"]);
}

#[test]
fn a_folder_that_was_moved_and_whose_new_name_is_not_synced_is_found() {
    let moved = format!("rename(\"/h/tasks/{TASK}\", \"/h/trash\") = 0\n");
    one_violation(&[folders(), meta("queued", ""), moved].concat(), &["at the end", "trash/meta.json", "the folder of the home"]);
}

/// Returns the calls of a setup whose output is in a synced folder, up to its snapshot with a name that may be lost.
fn set_up() -> String {
    let snapshots = format!("/h/envs/{ENV}/snapshots");
    let new = format!("mkdir(\"{snapshots}\", 0700) = 0\nmkdir(\"{snapshots}/new\", 0700) = 0\n");
    let (log, synced) = (file(&format!("{snapshots}/setup-001.log")), "syncfs(3</h>) = 0\n".to_owned());
    let snapshot = record(&format!("{snapshots}/new/snapshot.json"), "{}");
    let moved = format!("rename(\"{snapshots}/new\", \"{snapshots}/abc\") = 0\n");
    [folders(), ready(), new, log, synced, snapshot, moved].concat()
}

fn ended(phase: &str) -> String {
    let json = format!(r#"{{"status":"ready","setup_state":{{"last":{{"number":1,"key":"abc","phase":"{phase}"}}}}}}"#);
    record(&format!("/h/envs/{ENV}/env.json"), &json)
}

#[test]
fn a_setup_is_ready_after_the_name_of_its_snapshot_was_synced() {
    let synced = format!("fsync(5</h/envs/{ENV}/snapshots>) = 0\n");
    assert_eq!(found(&[set_up(), synced, ended("ready")].concat()), Vec::<String>::new());
    assert_eq!(found(&[set_up(), ended("running")].concat()).len(), 1, "at the end, the name would not survive");
    one_violation(&[set_up(), ended("ready")].concat(), &["says that its setup is \"ready\"", "made `envs/…0002/snapshots/abc`"]);
}

#[test]
fn a_setup_has_failed_after_its_output_was_synced() {
    let log = format!("/h/envs/{ENV}/snapshots/setup-001.log");
    let synced = format!("fsync(5</h/envs/{ENV}/snapshots>) = 0\n");
    let more = [set_up(), synced, format!("write(6<{log}>, \"x\", 1) = 1\n")].concat();
    one_violation(
        &[more.clone(), ended("failed")].concat(),
        &["says that its setup is \"failed\"", "no fsync of `envs/…0002/snapshots/setup"],
    );
    assert_eq!(found(&[more, format!("fsync(6<{log}>) = 0\n"), ended("failed")].concat()), Vec::<String>::new());
}
