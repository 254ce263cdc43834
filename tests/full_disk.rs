//! A full disk: recorded work is kept, new work is rejected with the reason, and everything continues once there is space.
//! The home is a small file system in memory, so the tests need root.

use serde_json::json;
use testkit::TestHome;
use testkit::small_disk::SmallDisk;
use testkit::upstream::Upstream;

use crate::BINARY;

#[tokio::test]
async fn a_full_disk_refuses_new_work_with_the_reason_and_recovers() {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    let disk = SmallDisk::mount(&home.path(), 8);
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let kept = home.task(&env, "begin; echo kept > kept; end kept").await;
    assert_eq!(home.settled(&kept).await["status"], "completed");

    let ballast = disk.fill();
    let (status, refused) = home.post("/api/v1/tasks", &json!({ "env_id": env, "prompt": "begin; end x" })).await;
    assert_eq!((status, &refused["code"]), (503, &json!("disk_full")), "{refused}");
    assert!(refused["hints"].as_array().is_some_and(|hints| !hints.is_empty()), "{refused}");
    let (_, list) = home.get("/api/v1/tasks").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "the list does not show the rejected task");
    assert_eq!(
        fs_err::read_dir(home.path().join("tasks")).expect("there").count(),
        1,
        "the rejected task leaves nothing on disk"
    );

    fs_err::remove_file(ballast).expect("ours");
    let after = home.task(&env, "begin; end after").await;
    assert_eq!(home.settled(&after).await["status"], "completed");
    assert_eq!(home.get(&format!("/api/v1/tasks/{kept}")).await.1["status"], "completed");
    home.stop().await;
    drop(disk);
}
