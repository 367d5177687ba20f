// Serves what esbuild made, the dashboards and the frames, and takes the pictures: node shoot.mjs (FRAMES, CHROMIUM, PICTURES).
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { chromium } from 'playwright-core';

const frames = process.env.FRAMES ?? 'frames.json';
const pictures = process.env.PICTURES ?? '../pictures';
// Board, the rows of its grid, the file.
const shots = [
  ['group-status', 0, 17, 'group-status'],
  ['group-status', 17, 34, 'group-sessions'],
  ['group-status', 34, 99, 'group-members'],
  ['gateway-fleet', 0, 21, 'gateway-fleet'],
  ['agent-raft', 0, 21, 'agent-raft'],
];
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json' };

const server = createServer(async ({ url }, answer) => {
  const path = normalize(new URL(url, 'http://x').pathname);
  const file = path === '/frames.json' ? frames : path.startsWith('/dashboards/') ? join('..', path) : path === '/' ? 'index.html' : join('dist', path);
  try {
    const body = await readFile(file);
    answer.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' }).end(body);
  } catch {
    answer.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width: 1392, height: 900 } });
let wrong = 0;
page.on('pageerror', (error) => { wrong += 1; console.error(String(error)); });
for (const [board, from, until, name] of shots) {
  await page.goto(`http://127.0.0.1:${server.address().port}/?board=${board}&from=${from}&until=${until}`);
  await page.waitForSelector('#root > div > div');
  await page.waitForTimeout(1500);
  await (await page.$('#root > div')).screenshot({ path: join(pictures, `${name}.png`) });
  console.log(name);
}
await browser.close();
server.close();
process.exit(wrong ? 1 : 0);
