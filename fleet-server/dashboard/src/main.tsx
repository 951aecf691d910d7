/** Starts the page: theme first (no flash), then route, clock, live data, and what is drawn. */
import 'uplot/dist/uPlot.min.css';
import './styles/tokens.css';
import './styles/base.css';
import './styles/shell.css';
import './styles/cards.css';
import './styles/buttons.css';
import './styles/feedback.css';
import './styles/figures.css';
import './styles/tables.css';
import './styles/plots.css';
import './styles/forms.css';
import { render } from 'preact';
import { App } from './app.tsx';
import { startLive } from './data/store.ts';
import { startTicking } from './data/time.ts';
import { route, startRouting } from './router.ts';
import { startTheme } from './theme.ts';

startTheme();
startRouting();
startTicking();
// A login link comes without a session: live data starts once it is traded for one.
if (route.value.page !== 'login') startLive();

const root = document.getElementById('app');
if (root) render(<App />, root);
