// D1's REST routes over a Durable Object's SQLite: the same engine, with the documented limits and envelope.
export class Db {
  constructor(ctx) {
    this.ctx = ctx;
  }

  async fetch(request) {
    const { sql, params, batch } = await request.json();
    const queries = batch ?? [{ sql, params }];
    try {
      const result = this.ctx.storage.transactionSync(() => queries.map((one) => this.run(one)));
      return Response.json({ success: true, errors: [], messages: [], result });
    } catch (error) {
      const errors = [{ code: 7500, message: String(error.message) }];
      return Response.json({ success: false, errors, messages: [], result: [] }, { status: 400 });
    }
  }

  run({ sql, params = [] }) {
    if (new TextEncoder().encode(sql).length > 100000) throw new Error("statement too long: SQLITE_TOOBIG");
    if (params.length > 100) throw new Error("too many SQL variables: SQLITE_ERROR");
    const cursor = this.ctx.storage.sql.exec(sql, ...params);
    const results = cursor.toArray();
    const meta = { rows_read: cursor.rowsRead, rows_written: cursor.rowsWritten };
    return { results, success: true, meta };
  }
}

export default {
  async fetch(request, env) {
    const found = new URL(request.url).pathname.match(/^\/client\/v4\/accounts\/[^/]+\/d1\/database\/([^/]+)\/query$/);
    if (!found || request.method !== "POST") return new Response("not found", { status: 404 });
    if (request.headers.get("authorization") !== "Bearer secret-of-the-test") {
      const errors = [{ code: 10000, message: "Authentication error" }];
      return Response.json({ success: false, errors, messages: [], result: null }, { status: 401 });
    }
    return env.DB.get(env.DB.idFromName(found[1])).fetch(request);
  },
};
