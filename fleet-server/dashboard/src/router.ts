/** Where the page is: the hash as a signal. */
import { signal } from '@preact/signals';
import { hrefTo, parseRoute, type Route } from './routes.ts';

export const route = signal<Route>({ page: 'fleet' });

export const goTo = (next: Route): void => {
  location.hash = hrefTo(next);
};

export function startRouting(): void {
  const read = () => {
    route.value = parseRoute(location.hash);
  };
  addEventListener('hashchange', read);
  read();
}
