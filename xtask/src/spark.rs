//! `cargo xtask spark`: a standalone Spark cluster, a master and two workers on loopback, answers what `weir`
//! answers, over the same files. It is no part of `cargo xtask test`: Spark alone is some 400 MB to download.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_tests::{engines::Archive, process::Daemon};

use crate::{
    build, ci,
    run::{output, step, succeeds},
    setup,
};

const WORKERS: usize = 2;
/// What a Java machine takes to start on a busy machine, and more.
const PATIENCE: Duration = Duration::from_secs(180);

pub fn run() -> Result<()> {
    build::run(&build::Options { release: false })?;
    let python = ci::engines()?;
    if !succeeds("java", &["-version"]) {
        setup::apt_install(&["default-jre-headless"])?;
    }
    let with_spark = ci::venv("venv-spark", "pyspark", &["pyspark>=4,<5"])?;
    step("two collectors, side by side");
    let archive = Archive::collected()?;
    let expected = archive.answers()?;
    for engine in ["duckdb", "pyarrow"] {
        agrees(engine, &archive.asked(&python, engine, &[])?, &expected)?;
    }
    step("a Spark cluster on loopback: a master and two workers");
    let cluster = Cluster::start(&with_spark)?;
    let found = archive.asked(&with_spark, "spark", &[&cluster.master_url]);
    cluster.stop()?;
    agrees("spark", &found?, &expected)
}

fn agrees(engine: &str, found: &Value, expected: &Value) -> Result<()> {
    ensure!(
        found == expected,
        "{engine} answers otherwise than weir:\n{found}\n{expected}"
    );
    println!("{engine} answers as weir does");
    Ok(())
}

/// A cluster, killed when dropped.
struct Cluster {
    master_url: String,
    /// The master is the last.
    daemons: Vec<Daemon>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts it, with the Spark that a Python has; the workers are registered when it returns.
    fn start(python: &Path) -> Result<Self> {
        let home = "import pyspark; print(pyspark.__path__[0])";
        let home = PathBuf::from(output(&python.display().to_string(), &["-c", home]));
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port()
            .to_string();
        let master_url = format!("spark://127.0.0.1:{port}");
        let command = |class: &str| {
            let mut command = Command::new(home.join("bin/spark-class"));
            command
                .arg(format!("org.apache.spark.deploy.{class}"))
                .args(["--host", "127.0.0.1", "--webui-port", "0"])
                .env("SPARK_HOME", &home)
                .env("SPARK_LOCAL_IP", "127.0.0.1")
                .env("SPARK_LOCAL_DIRS", folder.path())
                .env("SPARK_DAEMON_MEMORY", "512m");
            command
        };
        let mut master = command("master.Master");
        master.args(["--port", &port]);
        let mut master = Daemon::start(master, &folder.path().join("master.log"))?;
        master.wait_long_for("Starting Spark master at", PATIENCE)?;
        let mut daemons = vec![];
        for number in 0..WORKERS {
            let mut worker = command("worker.Worker");
            worker.args(["--cores", "1", "--memory", "1G", "--work-dir"]);
            worker.arg(folder.path().join(format!("work-{number}")));
            worker.arg(&master_url);
            let log = folder.path().join(format!("worker-{number}.log"));
            daemons.push(Daemon::start(worker, &log)?);
        }
        for worker in &mut daemons {
            worker.wait_long_for("Successfully registered with master", PATIENCE)?;
        }
        daemons.push(master);
        Ok(Self {
            master_url,
            daemons,
            _folder: folder,
        })
    }

    /// Ends it: workers first, which end what they run. A Java machine that is told to end does so with a
    /// status of its own.
    fn stop(self) -> Result<()> {
        for daemon in self.daemons {
            daemon.stop()?;
        }
        Ok(())
    }
}
