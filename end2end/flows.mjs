// The main job, step by step, by what a person finds on the pages. Every flow has to work with scripts blocked.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';

const submit = (page, selector) => Promise.all([page.waitForNavigation(), page.click(selector)]);
const text = async (page, selector) => ((await page.locator(selector).first().textContent()) ?? '').replace(/\s+/g, ' ').trim();

/** Reads a page again until `done` says so: without scripts the page refreshes itself, with them its live regions move. */
async function until(page, what, done, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    if (await done().catch(() => false)) return;
    await page.waitForTimeout(300);
  }
  throw new Error(`${what} did not come within ${seconds} s; the page is at ${page.url()}`);
}

const state = (page) => page.locator('main').getAttribute('data-state');

/** Plans, confirms and watches a flush of `scope` to its end; a wide one is approved by `approve` and then started. Answers its address. */
async function flushScope(page, scope, approve) {
  await page.goto('/flush');
  await page.fill('[name=scope]', scope);
  await submit(page, 'form[action="/flush"] button[type=submit]');
  assert.match(page.url(), /\/flush\/[^/]+$/);
  const address = page.url();
  await until(page, 'the plan', async () => (await state(page)) === 'planned');
  const planned = await page.locator('main').getAttribute('data-planned');
  assert.match(planned, /^\d+$/);

  // Typed wrongly: nothing happens, what was typed is still there.
  await page.fill('[name=typed_target]', 'main');
  await page.fill('[name=typed_scope]', scope);
  await page.fill('[name=typed_count]', String(Number(planned) + 1));
  await page.fill('[name=reason]', 'readers see old values, writer mended');
  await submit(page, 'form.danger .btn-danger');
  assert.ok(await page.locator('form.danger[data-error]').count(), 'the refusal is named on the form');
  assert.equal(await page.inputValue('[name=reason]'), 'readers see old values, writer mended');
  assert.equal(await state(page), 'planned');

  await page.fill('[name=typed_count]', planned);
  await submit(page, 'form.danger .btn-danger');
  if ((await page.locator('main').getAttribute('data-wide')) === 'true') {
    assert.equal(await state(page), 'awaiting_approval');
    assert.equal(await page.locator('button[value=approve], button[value=start]').count(), 0, 'who asks can neither approve nor start');
    await approve(address);
    await until(page, 'the approval', async () => (await state(page)) === 'approved');
    await submit(page, 'button[value=start]');
  }
  await until(page, 'the end', async () => /^completed/.test(await state(page)));
  const figure = async (name) => Number(await page.locator('main').getAttribute(`data-${name}`));
  assert.equal(await figure('failed'), 0);
  // Keys of a living shop come and go between plan and removal.
  assert.ok((await figure('removed')) > 0, 'something was removed');
  return address;
}

/** Another person finds the mark on their first page, follows it, and approves. */
async function approveOnAPhone(address, somebody) {
  const { page, shot, check } = await somebody('approver', { width: 390, height: 844 });
  await submit(page, `[data-waits] a[href="${new URL(address).pathname}"]`);
  assert.equal(page.url(), address);
  assert.equal(await page.locator('button[value=start]').count(), 0);
  assert.match(await text(page, 'main .hash'), /^[0-9a-f]{64}$/);
  await shot('approve');
  await check();
  await submit(page, 'button[value=approve]');
  assert.equal(await state(page), 'approved');
  assert.equal(await page.locator('[data-waits]').count(), 0);
}

/** What an authenticator app shows, `ahead` steps of 30 s from now (RFC 6238). */
function appCode(secret, ahead = 0) {
  const bits = [...secret].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + ahead));
  const mac = createHmac('sha1', Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)))).update(step).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

export const flows = {
  async a_stranger_is_led_to_the_sign_in_and_back({ page, user }) {
    await page.goto('/audit?who=nobody');
    assert.match(page.url(), /\/sign-in\?next=/);
    await page.fill('[name=email]', user('viewer').email);
    await page.fill('[name=password]', 'certainly wrong');
    await submit(page, 'form[action="/sign-in"] button[type=submit]');
    assert.ok(await page.locator('[data-error]').count());
    assert.equal(await page.inputValue('[name=email]'), user('viewer').email);
    await page.fill('[name=password]', user('viewer').password);
    await submit(page, 'form[action="/sign-in"] button[type=submit]');
    assert.match(page.url(), /\/audit\?who=nobody$/);
  },

  async the_overview_says_what_is_wrong_first({ page, signIn }) {
    await signIn('operator');
    assert.ok((await text(page, 'h1')).length > 10);
    const names = await page.locator('table.hero th[scope=row] .key').allTextContents();
    for (const name of ['user:{id}:profile', 'user:{id}:summary', 'cart:{id}', 'catalog:{id}', 'billing:{account}:invoice', 'search:{hash}', 'unclassified', 'overflow']) {
      assert.ok(names.includes(name), `${name} has a row`);
    }
    await page.goto('/?q=billing');
    assert.equal(await page.locator('table.hero th[scope=row] .key').count(), 1);
    await page.goto('/?range=7d');
    assert.equal(await text(page, '.range [aria-current]'), '7 d');
  },

  async a_prefix_leads_to_its_charts_numbers_and_events({ page, signIn }) {
    await signIn('operator');
    await page.locator('table.hero th a', { hasText: 'user:{id}:summary' }).first().click();
    await page.waitForURL(/\/prefixes\//);
    assert.equal(await page.locator('figure.chart svg.data[role=img]').count(), 5);
    assert.equal(await text(page, 'h1 .key'), 'user:{id}:summary');
    await page.click('#rebuild .numbers a');
    await page.waitForURL(/numbers=rebuild/);
    assert.ok((await page.locator('#rebuild details tbody tr').count()) > 10);
    await page.goto('/prefixes/user:%7Bid%7D:summary?events=stale');
    assert.match(await text(page, 'h1'), /Stale samples/);
    const answer = await page.goto('/prefixes/nothing:%7Bid%7D');
    assert.equal(answer.status(), 404);
  },

  async one_crosshair_moves_over_all_charts({ page, signIn, scripts }) {
    if (!scripts) return;
    await signIn('operator');
    await page.goto('/prefixes/user:%7Bid%7D:summary?range=6h');
    const chart = page.locator('#miss svg.data');
    await chart.scrollIntoViewIfNeeded();
    await page.waitForSelector('html[data-awake]');
    const box = await chart.boundingBox();
    await page.mouse.move(box.x + box.width * 0.5, box.y + 40);
    await page.waitForSelector('.cross', { state: 'attached' });
    assert.equal(await page.locator('.cross').count(), 5);
    assert.match(await text(page, '#miss .now'), /^\d\d-\d\d \d\d:\d\d/);
    await page.mouse.move(5, 5);
    assert.equal(await page.locator('.cross').count(), 0);
    // A drag opens that stretch of time: only the address changes.
    await page.mouse.move(box.x + box.width * 0.25, box.y + 40);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.75, box.y + 50, { steps: 5 });
    await Promise.all([page.waitForURL(/from=.*to=/), page.mouse.up()]);
    await page.waitForSelector('html[data-awake]');
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'q');
    await page.keyboard.press('Escape');
    await page.keyboard.press('?');
    assert.ok(await page.locator('dialog#help[open]').count());
  },

  async live_regions_follow_the_data({ page, signIn, scripts }) {
    if (!scripts) return;
    await signIn('operator');
    await page.goto('/');
    const asked = await page.waitForResponse((response) => response.url().includes('/live?of=overview'), { timeout: 15_000 });
    assert.ok([200, 204].includes(asked.status()), `live answered ${asked.status()}`);
    await page.waitForResponse((response) => response.url().includes('/live?of=') && response.status() === 200, { timeout: 60_000 });
  },

  async exactly_one_scope_is_flushed({ page, signIn, scripts, somebody }) {
    await signIn('operator');
    const scope = scripts ? 'user:{id}:summary' : 'catalog:{id}';
    const address = await flushScope(page, scope, (asked) => approveOnAPhone(asked, somebody));
    await page.goto('/audit');
    const codes = await page.locator('table.chain tbody').textContent();
    for (const code of ['flush.planned', 'flush.confirmed', 'flush.started', 'flush.finished']) assert.ok(codes.includes(code), `${code} stands in the audit`);
    await page.goto('/flush');
    assert.ok(await page.locator(`a[href="${new URL(address).pathname}"]`).count(), 'the list leads to it');
  },

  async a_wide_flush_is_approved_on_a_phone({ page, signIn, somebody }) {
    await signIn('operator');
    let approved = false;
    // A literal of one segment is wide, however few its keys.
    await flushScope(page, 'catalog:', async (asked) => {
      await approveOnAPhone(asked, somebody);
      approved = true;
    });
    assert.ok(approved, 'a second person was asked');
    assert.match(await text(page, 'main'), /Approved by/);
  },

  async a_soft_flush_lets_keys_expire({ page, signIn, scripts }) {
    await signIn('operator');
    const scope = scripts ? 'search:{hash}' : 'user:{id}:summary';
    await page.goto('/flush');
    await page.fill('[name=scope]', scope);
    await page.check('[name=mode][value=soft]');
    await page.fill('[name=window_s]', '5');
    await submit(page, 'form[action="/flush"] button[type=submit]');
    assert.equal(await page.locator('form[data-error]').getAttribute('data-error'), 'bad_window');
    assert.ok(await page.isChecked('[name=mode][value=soft]'), 'what was chosen stays');
    await page.fill('[name=window_s]', '600');
    await submit(page, 'form[action="/flush"] button[type=submit]');
    await until(page, 'the plan', async () => (await state(page)) === 'planned');
    assert.match(await text(page, 'h1'), /^This would let [\d,]+ keys? expire within 10 min/);
    await page.fill('[name=typed_target]', 'main');
    await page.fill('[name=typed_scope]', scope);
    await page.fill('[name=typed_count]', await page.locator('main').getAttribute('data-planned'));
    await page.fill('[name=reason]', 'the source could not bear all rebuilds at once');
    await submit(page, 'form.danger .btn-danger');
    await until(page, 'the end', async () => /^completed/.test(await state(page)));
    assert.match(await text(page, 'h1'), /^Let [\d,]+ keys? expire within 10 min/);
    assert.match(await text(page, 'dl.facts'), /Will expire/);
    assert.doesNotMatch(await text(page, 'main'), /removed/i);
  },

  async a_protected_prefix_is_refused_with_what_was_typed({ page, signIn }) {
    await signIn('operator');
    await page.goto('/flush');
    await page.fill('[name=scope]', 'session:');
    await submit(page, 'form[action="/flush"] button[type=submit]');
    assert.ok(await page.locator('form[data-error]').count());
    assert.equal(await page.inputValue('[name=scope]'), 'session:');
  },

  async a_viewer_finds_a_sentence_in_the_place_of_the_form({ page, signIn }) {
    await signIn('viewer');
    await page.goto('/flush');
    assert.equal(await page.locator('form[action="/flush"]').count(), 0);
    assert.ok(await page.locator('main .notice').count());
    const answer = await page.goto('/users');
    assert.equal(answer.status(), 403);
  },

  async a_review_action_is_added_and_closed({ page, signIn, scripts }) {
    await signIn('operator');
    await page.goto('/review');
    assert.match(page.url(), /\/review\/\d{4}-W\d\d$/);
    const words = `Jitter the TTL of catalog, ${scripts ? 'with' : 'without'} scripts`;
    await page.fill('#actions [name=text]', words);
    await page.fill('#actions [name=owner]', 'Lea Brandt');
    const due = new Date(Date.now() + 14 * 86_400_000).toISOString().slice(0, 10);
    await page.fill('#actions [name=due]', due);
    await submit(page, '#actions button[value=add]');
    const row = page.locator('#actions tbody tr', { hasText: words });
    assert.equal(await row.count(), 1);
    await row.locator('[name=outcome]').fill('done');
    await Promise.all([page.waitForNavigation(), row.locator('button[value=close]').click()]);
    assert.match(await page.locator('#actions tbody tr', { hasText: words }).textContent(), /done/);
  },

  async a_second_factor_is_enrolled_asked_for_and_removed({ user, somebody }) {
    const { page, shot, check } = await somebody('admin', { width: 390, height: 844 });
    await page.goto('/account');
    await page.fill('#sf-present', user('admin').password);
    await submit(page, 'button[value=enrol]');
    const secret = (await text(page, '#second-factor pre code')).replaceAll(' ', '');
    assert.equal(await page.locator('#second-factor svg.qr[role=img]').count(), 1);
    await shot('factor-enrol');
    await check();
    await page.fill('#sf-code', appCode(secret));
    await submit(page, 'button[value=enrol_confirm]');
    const codes = (await text(page, '#second-factor pre code')).match(/[0-9a-z]{4}(-[0-9a-z]{4}){3}/g);
    assert.equal(codes.length, 10);
    await shot('factor-codes');
    await check();
    await submit(page, 'button[value=kept]');
    assert.match(await text(page, '#second-factor'), /10 of 10 recovery codes left/);
    // A new session has not shown it yet.
    await submit(page, 'form[action="/sign-out"] button');
    await page.fill('[name=email]', user('admin').email);
    await page.fill('[name=password]', user('admin').password);
    await submit(page, 'form[action="/sign-in"] button[type=submit]');
    await page.goto('/flush');
    await page.fill('[name=scope]', 'cart:factor:');
    await submit(page, 'form[action="/flush"] button[type=submit]');
    await until(page, 'the plan', async () => (await state(page)) === 'planned');
    await page.fill('[name=typed_target]', 'main');
    await page.fill('[name=typed_scope]', 'cart:factor:');
    await page.fill('[name=typed_count]', await page.locator('main').getAttribute('data-planned'));
    await page.fill('[name=reason]', 'a scope without keys, for the code');
    await page.fill('[name=code]', '000000');
    await submit(page, 'form.danger .btn-danger');
    assert.equal(await page.locator('form.danger').getAttribute('data-error'), 'wrong_code');
    assert.equal(await page.inputValue('[name=reason]'), 'a scope without keys, for the code');
    assert.equal(await page.inputValue('[name=code]'), '');
    await shot('factor-asked');
    await check();
    await page.fill('[name=code]', appCode(secret, 1));
    await submit(page, 'form.danger .btn-danger');
    await until(page, 'the end', async () => /^completed/.test(await state(page)));
    await page.goto('/account');
    await page.fill('#sf-remove', codes[0]);
    await submit(page, 'button[value=remove]');
    assert.equal(await page.locator('#sf-present').count(), 1, 'there is none any more');
  },

  async contracts_show_each_edge({ page, signIn }) {
    await signIn('viewer');
    await page.goto('/contracts');
    assert.ok((await page.locator('main tbody tr').count()) > 3);
  },

  async the_audit_can_be_verified_and_exported({ page, context, signIn }) {
    await signIn('auditor');
    await page.goto('/audit');
    await submit(page, 'form[action="/audit"][method=post] button');
    assert.match(await text(page, '.badge'), /Record is whole/);
    const csv = await context.request.get('/audit.csv');
    assert.equal(csv.status(), 200);
    assert.match(csv.headers()['content-type'], /text\/csv/);
  },

  async a_bug_of_the_shop_is_switched({ page, signIn }) {
    await signIn('admin');
    await page.goto('/demo');
    assert.ok((await page.locator('main form button').count()) >= 5);
    await submit(page, 'main form button >> nth=0');
    await submit(page, 'main form button >> nth=0');
  },

  async signing_out_ends_the_session({ page, signIn }) {
    await signIn('operator');
    await page.goto('/account');
    await submit(page, 'form[action="/sign-out"] button');
    await page.goto('/');
    assert.match(page.url(), /\/sign-in/);
  },
};
