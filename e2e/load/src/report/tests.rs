use super::*;

fn plan(runs: u32) -> Plan {
    Plan {
        scenarios: Vec::new(),
        topologies: Vec::new(),
        runs,
        repeats: runs,
        seconds: 1,
        small: false,
    }
}

#[test]
fn a_failed_scenario_fails_the_report_and_a_missed_target_does_not() {
    let mut report = Report::new(&plan(1));
    let missed = Figures::from([("ready_ms", 10_000.0)]);
    let entry = Entry::new(
        Scenario::Startup,
        Topology::AllInOne,
        Ok(vec![missed].into()),
    );
    report.entries.push(entry);
    report.verdict().unwrap();
    assert!(report.table().unwrap().contains("**missed**"));
    let broken = Err(anyhow::anyhow!("lost"));
    report
        .entries
        .push(Entry::new(Scenario::PingPong, Topology::AllInOne, broken));
    assert!(report.verdict().is_err());
    assert!(report.json().unwrap().contains("\"failure\": \"lost\""));
}

#[test]
fn the_file_system_is_that_of_the_nearest_mount_point() {
    let dir = std::env::temp_dir();
    let mounts = format!(
        "a / ext4 rw\nb {} tmpfs rw\nc /nowhere xfs rw\n",
        dir.display()
    );
    assert_eq!(file_system(&mounts), "tmpfs");
}

#[test]
fn a_report_says_under_which_conditions_its_figures_were_measured() {
    let run = |foreign| {
        Figures::from([
            ("ack_p50_ms", 1.0),
            (conditions::FOREIGN, foreign),
            (conditions::DISK_P50, 0.25),
            (conditions::DISK_P99, 0.5),
            (conditions::GENERATOR, 12.0),
        ])
    };
    let mut report = Report::new(&plan(2));
    let runs = Runs {
        kept: vec![run(2.0), run(30.0)],
        repeated: 2,
        disturbed: 1,
    };
    report
        .entries
        .push(Entry::new(Scenario::PingPong, Topology::Separate, Ok(runs)));
    let table = report.table().unwrap();
    let line = "| ping-pong | separate | 16 % (2 – 30) | 0.250 ms / 0.500 ms | 12 % | – | 2 repeated, 1 kept |";
    assert!(table.contains(line), "{table}");
    assert!(report.json().unwrap().contains("\"disturbed\": 1"));
}
