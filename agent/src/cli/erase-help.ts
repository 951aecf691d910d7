/** Apart from what erases, which is loaded when it is asked for. */
export const ERASE_HELP = `
Removes identity and keys, buffer (also what is not yet at the server), trust, models, downloads and state of updates.
The configuration stays. The device has to be enrolled anew afterwards. Killed in between, run it again.

Files are filled with zeros before they are removed. That is the most that software can do, and on flash (SD, eMMC,
SSD) it is not enough: such media write elsewhere and may keep the old cells. To be sure, destroy the medium, use its
own secure erase, or encrypt from the start (\`skein-agent config\` lists atRest).
At the server: \`skein devices erase ID\`.

Examples:
  skein-agent erase                       shows what goes, and asks for the device's id
  systemctl stop skein-agent && skein-agent erase --yes -o json
  skein-agent erase --stop --yes          ends the running agent first, cleanly
Exit codes: 0 erased (or nothing was there), 1 failed, 2 refused: an agent runs, or nobody confirmed.
`;
