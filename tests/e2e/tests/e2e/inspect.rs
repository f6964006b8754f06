//! What an engineer asks the node, daemon alive or not.

use anyhow::Result;
use skep_e2e::{Lines, TestCluster};

use crate::{ECHO, ROLLOUT, ask};

#[test]
fn tables_are_read_from_the_kernel_also_without_the_daemon() -> Result<()> {
    let mut test = TestCluster::start("e2e-inspect")?;
    test.apply(ECHO)?;
    test.cluster.kubectl(ROLLOUT)?;
    ask(&test)?;
    let get = ["service", "get", "default/echo", "-o", "json"];
    let alive: serde_json::Value = serde_json::from_str(&test.cluster.skep_net(&get)?)?;
    assert!(alive.to_string().contains("echo"), "{alive}");
    // Three backends, reached from outside, have a table of slots where the Service asks for one.
    let algorithm = "service.skep.io/lb-algorithm";
    test.cluster.kubectl(&["annotate", "service", "echo-nodeport", &format!("{algorithm}=maglev")])?;
    let details = || test.cluster.skep_net(&["service", "get", "default/echo-nodeport"]);
    test.wait_until("a Maglev table", || details().is_ok_and(|text| text.contains("maglev of 509 slots")))?;
    test.cluster.skep_net(&["verify"])?;
    test.cluster.kubectl(&["annotate", "service", "echo-nodeport", &format!("{algorithm}-")])?;
    test.wait_until("no Maglev table", || details().is_ok_and(|text| !text.contains("maglev")))?;
    let alive: serde_json::Value = serde_json::from_str(&test.cluster.skep_net(&get)?)?;
    test.cluster.kill()?;
    let dead: serde_json::Value = serde_json::from_str(&test.cluster.skep_net(&get)?)?;
    assert_eq!(alive, dead, "the pins show what the daemon showed");
    let programs = test.cluster.skep_net(&["prog", "list"])?;
    assert!(programs.contains("connect4"), "{programs}");
    let wrong = test.cluster.skep_net(&["service", "get", "default/none"]).unwrap_err().to_string();
    assert!(wrong.contains("default/none"), "{wrong}");
    Ok(())
}

#[test]
fn debug_lines_of_the_programs_are_followed() -> Result<()> {
    let test = TestCluster::start("e2e-debug")?;
    test.apply(ECHO)?;
    test.cluster.kubectl(ROLLOUT)?;
    let lines = Lines::of(&mut test.cluster.skep_net_command(&["debug"]))?;
    // Asked again and again, since the first question may come before the programs are told to speak.
    test.wait_until("a line of the programs", || {
        let _answer = ask(&test);
        lines.any(|line| line.contains("goes to"))
    })?;
    Ok(())
}
