"""Asks an engine the same questions of a directory of Weir's files, and prints its answers as JSON.

    ask.py duckdb|pyarrow|spark DIRECTORY ADDRESS [MASTER]

DIRECTORY has a folder `collector=NAME` for each collector; of ADDRESS the flows to and from it are summed; MASTER
is a Spark cluster's, as in spark://127.0.0.1:7077. docs/scale-out.md says why each engine is told what it is told.
"""

import ipaddress
import json
import os
import sys
import time
import urllib.request

# What has no column: element 59, postVlanId, of switches that tell it. 200, as it was sent.
VLAN_KEY, VLAN = "59", bytes([0, 200])


def sql_answers(rows, blob, address):
    """The questions in SQL; `rows` asks one, `blob` is the engine's way to write octets."""
    sums = "select count(*) as f, sum(packets) as p, sum(octets) as o from flows"
    host = f"src_addr = {blob(address)} or dst_addr = {blob(address)}"
    return {
        "collectors": rows("select collector, count(*) from flows group by collector order by collector"),
        "total": rows(sums)[0],
        "top": rows(
            "select protocol, dst_port, count(*) as f, sum(packets) as p, sum(octets) as o from flows"
            " group by protocol, dst_port order by o desc, protocol, dst_port limit 20"
        ),
        "host": rows(f"{sums} where {host}")[0],
        "vlan": rows(f"select count(*) from flows where others['{VLAN_KEY}'] = {blob(VLAN)}")[0][0],
    }


def duckdb_answers(root, address):
    import duckdb

    db = duckdb.connect()
    # `hour=*` and not `**`: a folder whose name begins with a dot is a recompaction under way.
    files = f"{root}/collector=*/date=*/hour=*/*.parquet"
    db.execute(
        f"create view flows as select * from read_parquet('{files}', hive_partitioning = true, union_by_name = true)"
    )
    blob = lambda octets: "'" + "".join(f"\\x{octet:02X}" for octet in octets) + "'::blob"
    return sql_answers(lambda query: db.execute(query).fetchall(), blob, address)


def spark_answers(root, address, master):
    # Before the driver's Java machine starts.
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    from pyspark.sql import SparkSession

    settings = {
        # Times have nanoseconds, for which Spark has no type: they are read as numbers.
        "spark.sql.legacy.parquet.nanosAsLong": "true",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.port": "0",
        "spark.executor.memory": "512m",
        "spark.executor.cores": "1",
        "spark.cores.max": "2",
        "spark.sql.shuffle.partitions": "2",
        # No task before both workers are there.
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "60s",
    }
    builder = SparkSession.builder.master(master).appName("weir")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        # Files of both versions of the columns may lie side by side.
        spark.read.option("mergeSchema", "true").parquet(root).createOrReplaceTempView("flows")
        rows = lambda query: [list(row) for row in spark.sql(query).collect()]
        answers = sql_answers(rows, lambda octets: f"X'{octets.hex()}'", address)
        assert_both_worked(spark.sparkContext)
        return answers
    finally:
        spark.stop()


def assert_both_worked(context):
    """Fails unless two executors, one a worker, have had tasks. The driver tells it a moment late."""
    url = f"{context.uiWebUrl}/api/v1/applications/{context.applicationId}/executors"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(50):
        executors = json.load(direct.open(url, timeout=10))
        tasks = [executor["totalTasks"] for executor in executors if executor["id"] != "driver"]
        if len(tasks) == 2 and min(tasks) > 0:
            return
        time.sleep(0.2)
    sys.exit(f"two workers were to work; tasks of each executor: {tasks}")


def pyarrow_answers(root, address):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    flows = ds.dataset(root, partitioning="hive")
    counts = ["packets", "octets"]
    whole = flows.to_table(columns=["collector", "protocol", "dst_port", *counts])
    sums = lambda table: [table.num_rows, *(pc.sum(table[name]).as_py() for name in counts)]
    by = lambda names: whole.group_by(names).aggregate([([], "count_all"), ("packets", "sum"), ("octets", "sum")])
    groups = by(["protocol", "dst_port"]).to_pylist()
    top = [[row[name] for name in ("protocol", "dst_port", "count_all", "packets_sum", "octets_sum")] for row in groups]
    top.sort(key=lambda row: (-row[4], row[0], row[1]))
    literal = pa.scalar(address, pa.binary(16))
    is_host = (ds.field("src_addr") == literal) | (ds.field("dst_addr") == literal)
    others = flows.to_table(columns=["others"])["others"].to_pylist()
    return {
        "collectors": sorted([row["collector"], row["count_all"]] for row in by(["collector"]).to_pylist()),
        "total": sums(whole),
        "top": top[:20],
        "host": sums(flows.to_table(columns=counts, filter=is_host)),
        "vlan": sum(dict(entries or ()).get(VLAN_KEY) == VLAN for entries in others),
    }


def mapped(text):
    """An address as it is stored: 16 octets, IPv4 as ::ffff:a.b.c.d."""
    address = ipaddress.ip_address(text)
    return bytes(10) + b"\xff\xff" + address.packed if address.version == 4 else address.packed


def main():
    engine, root, address, *more = sys.argv[1:]
    ask = {"duckdb": duckdb_answers, "pyarrow": pyarrow_answers, "spark": spark_answers}[engine]
    # Sums of 64 bits are decimals in Spark.
    print(json.dumps(ask(root, mapped(address), *more), default=int))


if __name__ == "__main__":
    main()
