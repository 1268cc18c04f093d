// Every flow twice, with scripts and without; every page looked at by axe in light and dark, at 1440 and 390 px, and kept as a screenshot.
// Fails on any console error or refused policy. Ends with `N passed, N failed`.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { SHOTS, axe, launch, open, overflow, signIn } from './browser.mjs';
import { flows } from './flows.mjs';
import { startDemo } from './server.mjs';

/** First load of the overview, everything included, as it goes over the wire. */
const FIRST_LOAD_KIB = 180;
const only = process.argv[2];

let passed = 0;
const failures = [];

async function check(name, act) {
  if (only && !name.includes(only)) return;
  const began = Date.now();
  try {
    await act();
    passed += 1;
    console.log(`ok   ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failures.push(name);
    console.log(`FAIL ${name}\n     ${String(error.message ?? error).split('\n').slice(0, 12).join('\n     ')}`);
  }
}

const demo = process.env.STALEWATCH_DEMO ? { ...JSON.parse(process.env.STALEWATCH_DEMO), stop: async () => {} } : await startDemo();
const browser = await launch();
const user = (role) => demo.users.find((each) => each.role === role);

try {
  for (const scripts of [true, false]) {
    for (const [name, flow] of Object.entries(flows)) {
      await check(`${scripts ? 'with scripts' : 'without scripts'}: ${name.replaceAll('_', ' ')}`, async () => {
        const session = await open(browser, demo.url, { scripts });
        const others = [];
        // Somebody else, on a machine of their own.
        const somebody = async (role, options) => {
          const other = await open(browser, demo.url, { scripts, ...options });
          others.push(other);
          await signIn(other.page, user(role));
          const shot = (kept) => other.page.screenshot({ path: join(SHOTS, `${kept}-${options.width}-${scripts ? 'scripts' : 'plain'}.png`), fullPage: true });
          const check = async () => {
            assert.equal(await overflow(other.page), 0, 'the page is wider than its window');
            if (scripts) assert.deepEqual(await axe(other.page), []);
          };
          return { ...other, shot, check };
        };
        try {
          await flow({ ...session, demo, user, somebody, signIn: (role, next) => signIn(session.page, user(role), next) });
          assert.deepEqual([session, ...others].flatMap(({ complaints }) => complaints), []);
        } catch (error) {
          await session.page.screenshot({ path: join(SHOTS, `failed-${name}-${scripts ? 'scripts' : 'plain'}.png`), fullPage: true }).catch(() => {});
          throw error;
        } finally {
          for (const { context } of [session, ...others]) await context.close();
        }
      });
    }
  }

  await check('the first load stays within its weight', async () => {
    const { context, page } = await open(browser, demo.url);
    await signIn(page, user('operator'));
    const network = await context.newCDPSession(page);
    await network.send('Network.enable');
    await network.send('Network.setCacheDisabled', { cacheDisabled: true });
    let bytes = 0;
    network.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
    await page.goto('/', { waitUntil: 'networkidle' }).catch(() => {});
    const kib = bytes / 1024;
    console.log(`     first load ${kib.toFixed(0)} KiB`);
    assert.ok(kib > 5 && kib <= FIRST_LOAD_KIB, `${kib.toFixed(0)} KiB`);
    await context.close();
  });

  const pages = {
    overview: '/', 'overview-30d': '/?range=30d', prefix: '/prefixes/user:%7Bid%7D:summary?range=6h', billing: '/prefixes/billing:%7Baccount%7D:invoice',
    stale: '/prefixes/user:%7Bid%7D:summary?events=stale', numbers: '/prefixes/user:%7Bid%7D:summary?numbers=stale', flush: '/flush', contracts: '/contracts',
    review: '/review', audit: '/audit', users: '/users', settings: '/settings', account: '/account', demo: '/demo', missing: '/nowhere', 'sign-in': '/sign-in',
  };
  for (const scheme of ['light', 'dark']) {
    for (const width of [1440, 390]) {
      const session = await open(browser, demo.url, { scheme, width, height: width === 390 ? 844 : 900 });
      await signIn(session.page, user('admin'));
      const flushed = await session.page.goto('/flush').then(() => session.page.locator('main table a[href^="/flush/"]').first().getAttribute('href').catch(() => null));
      for (const [name, path] of Object.entries(flushed ? { outcome: flushed, ...pages } : pages)) {
        await check(`${name} at ${width} ${scheme}`, async () => {
          session.complaints.length = 0;
          if (name === 'sign-in') await session.context.clearCookies();
          await session.page.goto(path);
          await session.page.waitForTimeout(250);
          await session.page.screenshot({ path: join(SHOTS, `${name}-${width}-${scheme}.png`), fullPage: true });
          assert.deepEqual(await axe(session.page), []);
          assert.equal(await overflow(session.page), 0, 'the page is wider than its window');
          assert.deepEqual(session.complaints, []);
        });
      }
      await session.context.close();
    }
  }
} finally {
  await browser.close();
  await demo.stop();
}

console.log(`\n${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
