//! `service` on the command line: the printed unit, and the messages on a machine without systemd. No systemd is called; other
//! tests cover the calls.

use testkit::TestHome;

use crate::BINARY;

#[tokio::test]
async fn the_unit_is_printed_where_there_is_no_systemd_and_installing_says_what_to_do_instead() {
    let mut home = TestHome::new(BINARY);
    let empty = home.scratch().join("no programs");
    fs_err::create_dir(&empty).expect("a folder");
    home.set("PATH", &empty);
    let printed =
        home.command(&["service", "install", "--print", "--listen", "off"]).output().await.expect("the command can be started");
    let text = String::from_utf8(printed.stdout).expect("text");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    for line in ["KillMode=process", "Type=notify", &format!("Environment=\"ORCH_HOME={}\"", home.path().display())] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains(&format!("ExecStart=\"{BINARY}\" \"serve\" \"--listen\" \"off\"\n")), "{text}");
    for command in [&["service", "install"][..], &["service", "uninstall"], &["service", "status"]] {
        let refused = home.command(command).output().await.expect("the command can be started");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("systemd is not installed") && said.contains("codex-orchestrator serve"), "{said}");
    }
    assert_eq!(fs_err::read_dir(home.scratch().join("user")).expect("there").count(), 0, "a failed command writes nothing");
}
