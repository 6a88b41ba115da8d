// A receiver as it is often written: Express, node-postgres and pg-boss. Each
// delivery is one transaction, which inserts the event and its job.
'use strict'
const crypto = require('node:crypto')
const express = require('express')
const { Pool } = require('pg')
const boss = require('pg-boss')
const PgBoss = boss.PgBoss || boss.default || boss

const { DATABASE_URL, LISTEN_HOST, LISTEN_PORT, SECRET } = process.env

const table = `CREATE TABLE public.events (
  id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source               text NOT NULL,
  signature_request_id text NOT NULL,
  event_type           text NOT NULL,
  event_time           timestamptz NOT NULL,
  payload              bytea NOT NULL,
  signature            bytea NOT NULL,
  received_at          timestamptz NOT NULL DEFAULT now(),
  UNIQUE (signature_request_id, event_time, event_type, source)
)`

const insert = {
  name: 'insert',
  text: `INSERT INTO public.events (source, signature_request_id, event_type, event_time, payload, signature)
         VALUES ('account', $1, $2, to_timestamp($3 / 1000.0), $4, $5) ON CONFLICT DO NOTHING RETURNING id`,
}

// verify returns the signature, or undefined if it is wrong.
function verify (body, header) {
  const given = Buffer.from(header || '', 'hex')
  const wanted = crypto.createHmac('sha256', SECRET).update(body).digest()
  return given.length === wanted.length && crypto.timingSafeEqual(given, wanted) ? given : undefined
}

async function main () {
  const pool = new Pool({ connectionString: DATABASE_URL, max: 64 })
  const queue = new PgBoss({ connectionString: DATABASE_URL, supervise: false, schedule: false })
  queue.on('error', error => console.error(error))
  await queue.start()
  if (process.argv[2] === 'migrate') {
    await pool.query(table)
    await queue.createQueue('event')
    await queue.stop({ graceful: false })
    await pool.end()
    return
  }
  const app = express()
  app.get('/readyz', (req, res) => { res.status(200).send('ok') })
  app.post('/webhooks/account', express.raw({ type: () => true, limit: '1mb' }), async (req, res) => {
    const signature = verify(req.body, req.get('X-Signature'))
    if (!signature) return res.status(401).send('')
    const { event, signature_request: request } = JSON.parse(req.body)
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
      const values = [request.signature_request_id, event.event_type, event.event_time, req.body, signature]
      const { rows } = await client.query({ ...insert, values })
      if (rows.length > 0) {
        const db = { executeSql: (text, values) => client.query(text, values) }
        await queue.send('event', { id: rows[0].id }, { db })
      }
      await client.query('COMMIT')
      res.status(200).send('')
    } catch (error) {
      await client.query('ROLLBACK').catch(() => {})
      console.error(error)
      res.status(503).send('')
    } finally {
      client.release()
    }
  })
  app.listen(Number(LISTEN_PORT), LISTEN_HOST)
}

main().catch(error => { console.error(error); process.exit(1) })
