// One Chromium, and pages that remember everything they complained about.

import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const SHOTS = join(import.meta.dirname, 'screenshots');

export async function launch() {
  await mkdir(SHOTS, { recursive: true });
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A fresh context and page. `complaints` gathers console errors, failed scripts and refused policies. */
export async function open(browser, base, { scripts = true, width = 1440, height = 900, scheme = 'light' } = {}) {
  const context = await browser.newContext({
    baseURL: base,
    javaScriptEnabled: scripts,
    viewport: { width, height },
    colorScheme: scheme,
    timezoneId: 'Europe/Berlin',
  });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(`script failed: ${error.message}`));
  page.on('console', (message) => {
    // A refused form answers 4xx on purpose; the browser logs that as a failed resource.
    const expected = /Failed to load resource.*\b(403|404|409|422|429)\b/.test(message.text());
    if (message.type() === 'error' && !expected) complaints.push(`${page.url()}: ${message.text()}`);
    if (/Content Security Policy|Refused to/.test(message.text()) && message.type() !== 'error') complaints.push(message.text());
  });
  return { context, page, complaints, scripts };
}

export async function signIn(page, user, next = '') {
  await page.goto(`/sign-in${next}`);
  await page.fill('[name=email]', user.email);
  await page.fill('[name=password]', user.password);
  await Promise.all([page.waitForNavigation(), page.click('form[action="/sign-in"] button[type=submit]')]);
}

/** What axe finds serious or critical on the page as it stands. */
export async function axe(page) {
  // Evaluated through the debugger: the page's own policy would rightly refuse a script tag.
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target.join(' ')} (${node.any.concat(node.all).map((check) => check.message)[0] ?? ''})`).join('; ')}`);
  });
  return found;
}

/** How far the page is wider than its window. */
export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
