/** Unpacks Chromium and its libraries into the temporary folder: a process of its own, for that is told by the environment. */
import chromium from "@sparticuz/chromium"

await chromium.executablePath()
