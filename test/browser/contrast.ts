/** WCAG 2.1, 1.4.3 (AA): text needs 4.5:1 against what is behind it, large text (24 px, or 18.66 px bold) 3:1. */
import type { Page } from 'playwright-core';

/** Runs in the page, so it is text: our checker knows no DOM. */
const FIND_FAINT_TEXT = `(() => {
  const parse = (css) => {
    const numbers = (css.match(/-?[\\d.]+(e-?\\d+)?/g) ?? []).map(Number);
    const srgb = css.startsWith('color(');
    const [r, g, b, a = 1] = srgb ? [...numbers.slice(0, 3).map((n) => n * 255), numbers[3] ?? 1] : numbers;
    return { r, g, b, a };
  };
  const over = (top, under) => {
    const mix = (key) => top[key] * top.a + under[key] * (1 - top.a);
    return { r: mix('r'), g: mix('g'), b: mix('b'), a: 1 };
  };
  const backdrop = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => (top.a ? over(top, under) : under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const luminance = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((n) => (n /= 255) <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join('');
    if (!text || !element.checkVisibility() || element.closest('.visually-hidden, svg, :disabled, noscript')) continue;
    const style = getComputedStyle(element);
    const behind = backdrop(element);
    const ink = over(parse(style.color), behind);
    const [light, dark] = [luminance(ink), luminance(behind)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push(ratio.toFixed(2) + ' ' + element.className + ': ' + text.slice(0, 40));
  }
  return faint;
})()`;

/** One line for each text that is too faint. */
export const faintText = (page: Page): Promise<string[]> => page.evaluate<string[]>(FIND_FAINT_TEXT);
