//! Attacks on the machine: its resources, its network, its secrets, and the isolation of the container. Each attack runs
//! inside a container, and the test checks the host.

use serde_json::json;

use testkit::shell_agent::ShellAgent;

use crate::BINARY;

#[tokio::test]
async fn a_process_that_outlives_the_turn_is_gone() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "for n in 1 2 3; do setsid nohup sh -c 'while :; do date >> /workspace/worktree/alive; sleep 0.05; done' >/dev/null 2>&1 & done; \
        (setsid sh -c 'trap \"\" INT TERM HUP; exec sleep 1000000' &) ; until test -s alive; do sleep 0.02; done; echo x > work";
    let attacked = stage.attack(script).await;
    attacked.completed();
    let now = fs_err::read(stage.worktree(&attacked.task).join("alive")).expect("the file exists");
    let branch = format!("codex/{}:alive", testkit::shell_agent::id_of(&attacked.task));
    assert_eq!(stage.git(&["show", &branch]).into_bytes(), now, "no process writes to the worktree after the commit");
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn an_agent_that_holds_its_init_is_ended_all_the_same() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "python3 -c 'import ctypes; print(\"HELD\", ctypes.CDLL(None).ptrace(16, 1, 0, 0)); import time; time.sleep(1000000)' & sleep 0.5; \
        kill -STOP 1; echo x > work";
    let attacked = stage.attack(script).await;
    assert!(stage.committed(&attacked.task).iter().any(|name| name == "work"), "{} {}", attacked.task, attacked.log);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn forks_and_memory_are_bounded() {
    let stage = ShellAgent::with(BINARY, &json!({ "pids": 200, "memory": "256m" })).await;
    // The forks come last, because a shell that cannot start programs cannot print the result, either.
    let script = "python3 -c 'x = bytearray(2 << 30)' 2>/dev/null || echo BOUNDED; echo x > work; f() { f 2>/dev/null | f 2>/dev/null & }; f 2>/dev/null; sleep 1";
    let attacked = stage.attack(script).await;
    assert!(attacked.task["status"] == "failed" || attacked.log.contains("BOUNDED"), "{} {}", attacked.task, attacked.log);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn the_hosts_secrets_are_not_in_any_environment() {
    let stage = ShellAgent::new(BINARY).await;
    let token = fs_err::read_to_string(stage.home.path().join("token")).expect("a token");
    let script = "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; env; cat /codex-docker/in/* 2>/dev/null; find / -xdev -name token 2>/dev/null; echo looked";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(attacked.log.contains("looked") && !attacked.log.contains(token.trim()), "{}", attacked.log);
    for name in ["ORCH_HOME=", "ORCH_WORKER=", "ORCH_LISTEN=", "DOCKER_HOST=", "SSH_AUTH_SOCK="] {
        assert!(!attacked.log.contains(name), "{name}: {}", attacked.log);
    }
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn with_an_open_network_the_api_is_not_reached() {
    let stage = ShellAgent::new(BINARY).await;
    let address = stage.home.tcp_address().await;
    let port = address.rsplit(':').next().expect("a port");
    let script = format!(
        "gateway=$(python3 -c \"import socket, struct; print([socket.inet_ntoa(struct.pack('<L', int(l.split()[2], 16))) for l in open('/proc/net/route').readlines()[1:] if l.split()[1] == '00000000'][0])\"); \
         test -n \"$gateway\" && for h in $gateway 127.0.0.1 172.17.0.1 host.docker.internal; do curl -s -m 2 -o /dev/null http://$h:{port}/healthz && echo WENT $h; done; echo over"
    );
    let attacked = stage.attack(&script).await;
    attacked.completed();
    assert!(attacked.log.contains("over") && !attacked.log.contains("WENT"), "{}", attacked.log);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn a_list_of_hosts_has_no_way_around() {
    let stage = ShellAgent::with(BINARY, &json!({ "network": "allow", "allow_hosts": ["allowed.invalid"] })).await;
    let script = "for u in http://example.com https://example.com http://169.254.169.254/ http://127.0.0.1:8080/ http://[::1]:8080/ http://0x7f000001/ \
        http://allowed.invalid@example.com/ http://example.com:443/; do curl -s -m 5 -f -o /dev/null \"$u\" && echo WENT $u; \
        curl -s -m 2 --noproxy '*' -f -o /dev/null \"$u\" && echo WENT around $u; done; python3 -c 'import socket; socket.create_connection((\"1.1.1.1\", 53), 2)' 2>/dev/null && echo WENT; ls /sys/class/net";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(!attacked.log.contains("WENT"), "{}", attacked.log);
    assert!(
        attacked.task["runs"][0]["notes"].to_string().contains("example.com"),
        "the notes name the refused host: {}",
        attacked.task
    );
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn the_usual_ways_out_of_a_container_are_closed() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "mount -t proc p /mnt && echo WENT mount; mount -t cgroup -o memory c /mnt && echo WENT cgroup; unshare -Ur id && echo WENT userns; \
        unshare -m true && echo WENT mountns; nsenter -t 1 -m -u -i -n -p true && test \"$(readlink /proc/1/ns/mnt)\" != \"$(readlink /proc/self/ns/mnt)\" && echo WENT nsenter; \
        echo c > /proc/sysrq-trigger && echo WENT sysrq; echo x > /proc/sys/kernel/core_pattern && echo WENT core; \
        mknod /tmp/sda b 8 0 && echo WENT mknod; ls /var/run/docker.sock /run/containerd 2>/dev/null && echo WENT engine; \
        dmesg >/dev/null 2>&1 && echo WENT dmesg; \
        chown 0:0 / && su -s /bin/sh nobody -c 'true'; echo PROCESSES $(ls -d /proc/[0-9]* | wc -l); echo CAPS $(grep CapBnd /proc/self/status)";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(!attacked.log.contains("WENT"), "{}", attacked.log);
    assert!(
        attacked.said("PROCESSES").parse::<u32>().expect("a number") < 20,
        "the processes of the host are not visible: {}",
        attacked.log
    );
    assert!(attacked.said("CAPS").ends_with("00000000000000fb"), "{}", attacked.log);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn a_full_disk_of_its_own_making_ends_the_run_and_not_the_server() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "head -c 300m /dev/zero > /run/fill; dd if=/dev/zero of=/codex/fill bs=1M count=3000 2>/dev/null; echo x > work; rm -f /codex/fill; echo over";
    let attacked = stage.attack(script).await;
    assert!(attacked.log.contains("over") || attacked.task["status"] == "failed", "{}", attacked.log);
    stage.lives_on(&attacked).await;
}
